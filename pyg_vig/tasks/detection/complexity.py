"""Parameters and multiply-adds of the parts of a detector."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN, RetinaNet

from pyg_vig.models import count_parameters
from pyg_vig.models.record import find_graphers

_SIZE = (800, 1280)  # height and width for which papers report FLOPs
_TOTAL = "Global"  # PyTorch's key for the total count
_NUM_PROPOSALS, _NUM_DETECTIONS = 1000, 100  # proposals that are classified, detections whose masks are predicted


class Part(NamedTuple):
    """One part of a detector.

    Attributes:
        parameters: number of parameters, including frozen ones.
        macs: multiply-adds for one image, which papers report as "FLOPs".

    Example:
        >>> from pyg_vig.tasks.detection import Part
        >>> Part(parameters=36_200_000, macs=240_000_000_000).macs / 1e9
        240.0
    """

    parameters: int
    macs: int


@torch.no_grad()
def count_parts(model: RetinaNet | MaskRCNN, size: tuple[int, int] = _SIZE) -> dict[str, Part]:
    """Count the parameters and multiply-adds of backbone, neighbour search, feature pyramid and heads, for one image.

    Convolutions and matrix products are counted. The heads of Mask R-CNN process 1000 proposals and 100 detections, as
    in the counts that papers report. Those counts leave out the neighbour search: its distances are not a layer, but
    their number grows quadratically with the size of the image. Only shapes are computed, on a copy of the network on
    the meta device.

    Args:
        model: a detector from :func:`build_detector`.
        size: height and width of the image, multiples of 32.

    Example:
        >>> from pyg_vig.tasks.detection import build_detector, count_parts
        >>> options = {"patch_size": 8, "depth": 4}
        >>> model = build_detector("retinanet", backbone="vig_nano", num_classes=80, backbone_options=options)
        >>> list(count_parts(model, (64, 64)))
        ['backbone', 'neighbour search', 'feature pyramid', 'heads']
    """
    model = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, *size, device="meta")
    pyramid = model.backbone.pyramid
    maps, counts = _count_macs(lambda: pyramid(image))
    graph_builders = [f"{type(pyramid).__name__}.{name}.graph" for name in find_graphers(pyramid)]
    graph_macs = sum(counts.get(name, 0) for name in graph_builders)
    features, fpn_counts = _count_macs(lambda: list(model.backbone.forward_fpn(maps).values()))
    parts = {
        "backbone": Part(count_parameters(pyramid, trainable_only=False), counts[_TOTAL] - graph_macs),
        "neighbour search": Part(0, graph_macs),
        "feature pyramid": Part(count_parameters(model.backbone.fpn, trainable_only=False), fpn_counts[_TOTAL]),
    }
    if isinstance(model, RetinaNet):
        return parts | {"heads": _count_part(model.head, lambda: model.head(features))}
    return parts | _count_roi_heads(model, features)


def _count_roi_heads(model: MaskRCNN, features: list[Tensor]) -> dict[str, Part]:
    roi, width = model.roi_heads, model.backbone.out_channels
    boxes = torch.empty(_NUM_PROPOSALS, width, *roi.box_roi_pool.output_size, device="meta")
    masks = torch.empty(_NUM_DETECTIONS, width, *roi.mask_roi_pool.output_size, device="meta")
    box, mask = nn.Sequential(roi.box_head, roi.box_predictor), nn.Sequential(roi.mask_head, roi.mask_predictor)
    return {
        "proposals": _count_part(model.rpn, lambda: model.rpn.head(features)),
        "boxes": _count_part(box, lambda: box(boxes)),
        "masks": _count_part(mask, lambda: mask(masks)),
    }


def _count_part(module: nn.Module, forward: Callable[[], Any]) -> Part:
    return Part(count_parameters(module, trainable_only=False), _count_macs(forward)[1][_TOTAL])


def _count_macs(forward: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """Run ``forward`` and return its output and the multiply-adds of every module, by module name."""
    counter = FlopCounterMode(display=False)
    with counter:
        output = forward()
    counts = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    return output, {_TOTAL: 0} | counts
