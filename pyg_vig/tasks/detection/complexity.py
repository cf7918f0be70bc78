"""Parameters and multiply-adds of the parts of a detector."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN, RetinaNet

from pyg_vig.models import count_parameters
from pyg_vig.models.record import find_graphers

_SIZE = (800, 1280)  # height and width for which papers report FLOPs
_ALL = "Global"  # PyTorch's key for the total count
_BOXES, _MASKS = 1000, 100  # proposals that are classified, detections whose masks are predicted


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
    maps, counts = _counted(lambda: pyramid(image))
    graphs = [f"{type(pyramid).__name__}.{name}.graph" for name in find_graphers(pyramid)]
    search = sum(counts.get(name, 0) for name in graphs)
    features, fpn_counts = _counted(lambda: list(model.backbone.levels(maps).values()))
    parts = {
        "backbone": Part(count_parameters(pyramid, trainable_only=False), counts[_ALL] - search),
        "neighbour search": Part(0, search),
        "feature pyramid": Part(count_parameters(model.backbone.fpn, trainable_only=False), fpn_counts[_ALL]),
    }
    if isinstance(model, RetinaNet):
        return parts | {"heads": _part(model.head, lambda: model.head(features))}
    return parts | _regions(model, features)


def _regions(model: MaskRCNN, features: list[Tensor]) -> dict[str, Part]:
    roi, width = model.roi_heads, model.backbone.out_channels
    boxes = torch.empty(_BOXES, width, *roi.box_roi_pool.output_size, device="meta")
    masks = torch.empty(_MASKS, width, *roi.mask_roi_pool.output_size, device="meta")
    box, mask = nn.Sequential(roi.box_head, roi.box_predictor), nn.Sequential(roi.mask_head, roi.mask_predictor)
    return {
        "proposals": _part(model.rpn, lambda: model.rpn.head(features)),
        "boxes": _part(box, lambda: box(boxes)),
        "masks": _part(mask, lambda: mask(masks)),
    }


def _part(module: nn.Module, forward: Callable[[], Any]) -> Part:
    return Part(count_parameters(module, trainable_only=False), _counted(forward)[1][_ALL])


def _counted(forward: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """Run ``forward`` and return its output and the multiply-adds of every module, by module name."""
    counter = FlopCounterMode(display=False)
    with counter, mock.patch.object(torch, "autocast", _nothing):  # PyTorch has no autocast for the meta device
        output = forward()
    counts = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    return output, {_ALL: 0} | counts


def _nothing(*_: Any, **__: Any) -> AbstractContextManager[None]:
    return nullcontext()
