"""torchvision's detectors on the backbones of this package."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from pyg_vig.tasks.pyramid import DenseModelConfig, PyramidBackbone

_ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors
_ANCHOR_SIZE = 32  # side of the smallest anchors for images of 800 pixels
_BOX_POOL_SIZE, _MASK_POOL_SIZE = 7, 14  # side of the features that are pooled for a box, and for its mask


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(DenseModelConfig):
    """Configuration of a detector; plain data, stored in its checkpoint.

    Args:
        detector: ``"retinanet"`` or ``"mask_rcnn"``.
        backbone: name of the backbone network.
        backbone_options: fields of the backbone's configuration to replace.
        num_classes: number of object classes, without the background; labels run from 1 to ``num_classes``.
        classes: names of the classes.
        freeze_norm: whether the backbone's batch norms are frozen.
        channels: width of the feature pyramid, of RetinaNet's heads and of the mask head.
        head_channels: width of the layers in Mask R-CNN's box head.
        anchor_size: side in pixels of the smallest anchors on the finest map; it doubles with every coarser map. Small
            images need small anchors.
        options: further arguments of torchvision's class, such as ``min_size`` and ``max_size`` (800 and 1333),
            ``box_score_thresh``, ``rpn_pre_nms_top_n_train``.

    Raises:
        ValueError: for an unknown detector, or if ``num_classes`` is below 1.

    Example:
        >>> from pyg_vig.tasks.detection import DetectorConfig
        >>> DetectorConfig(detector="retinanet", backbone="pvig_s", num_classes=80).channels
        256
    """

    detector: str
    channels: int = 256
    head_channels: int = 1024
    anchor_size: int = _ANCHOR_SIZE

    def __post_init__(self) -> None:
        if self.detector not in _BUILDERS:
            raise ValueError(f"detector must be one of {', '.join(_BUILDERS)}, got {self.detector!r}")
        super().__post_init__()


class DetectionBackbone(nn.Module):
    """Backbone and feature pyramid in the form that torchvision's detectors expect.

    Args:
        pyramid: the backbone.
        channels: width of all output maps.
        first_map: index of the finest backbone map that is used.
        extra_blocks: block that adds coarser maps.
    """

    def __init__(self, pyramid: PyramidBackbone, channels: int, first_map: int, extra_blocks: ExtraFPNBlock) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.first_map = first_map
        self.fpn = FeaturePyramidNetwork(pyramid.channels[first_map:], channels, extra_blocks)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature pyramid's maps by name, finest first."""
        return self.forward_fpn(self.pyramid(images))

    def forward_fpn(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Compute the feature pyramid from the backbone's maps."""
        return self.fpn(OrderedDict((str(i), x) for i, x in enumerate(maps[self.first_map :])))


def build_detector(
    detector: str,
    *,
    backbone: str,
    num_classes: int,
    weights: str | None = None,
    freeze_norm: bool | None = None,
    **config: Any,
) -> RetinaNet | MaskRCNN:
    """Build torchvision's RetinaNet or Mask R-CNN, with a feature pyramid, on any network of this package.

    The interface is that of torchvision's detectors: a list of images ``(3, H, W)`` in [0, 1] of any size and, in
    training, a list of targets. The detector resizes, normalises (with the backbone's statistics) and pads the images.

    Args:
        detector: ``"retinanet"`` or ``"mask_rcnn"``.
        backbone: name of the backbone network, see :func:`pyg_vig.list_models`.
        num_classes: number of object classes, without the background (80 for COCO); labels start at 1.
        weights: checkpoint of the backbone.
        freeze_norm: whether the backbone's batch norms are frozen; by default only if ``weights`` are given.
        **config: other fields of :class:`DetectorConfig`, such as ``backbone_options``, ``channels``, ``options``.

    Raises:
        ValueError: for an unknown detector, backbone or field.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.detection import build_detector
        >>> model = build_detector(
        ...     "mask_rcnn", backbone="vig_nano", num_classes=3, channels=16, head_channels=32,
        ...     backbone_options={"patch_size": 8}, options={"min_size": 64, "max_size": 96},
        ... ).eval()
        >>> sorted(model([torch.rand(3, 50, 70)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """
    config |= {"detector": detector, "backbone": backbone, "num_classes": num_classes}
    return from_config(DetectorConfig.create(weights, freeze_norm, **config), weights)


def from_config(config: DetectorConfig, weights: str | None = None) -> RetinaNet | MaskRCNN:
    """Build the detector of a configuration, which it keeps as ``model.config``."""
    _check_options(config)
    pyramid = config.build_backbone(weights)
    options = {"image_mean": list(pyramid.config.mean), "image_std": list(pyramid.config.std)} | config.options
    model = _BUILDERS[config.detector](config, pyramid, options)
    model.config = config
    return model


def _check_options(config: DetectorConfig) -> None:
    """Raise a ValueError for unknown options, which torchvision's classes would silently ignore."""
    detector_class = RetinaNet if config.detector == "retinanet" else MaskRCNN
    valid = {*signature(detector_class).parameters, *signature(GeneralizedRCNNTransform).parameters} - {
        "backbone",
        "kwargs",
    }
    unknown = sorted(set(config.options) - valid)
    if unknown:
        raise ValueError(
            f"{detector_class.__name__} has no option {', '.join(unknown)}: choose among {', '.join(sorted(valid))}"
        )


def _build_retinanet(config: DetectorConfig, pyramid: PyramidBackbone, options: dict[str, Any]) -> RetinaNet:
    """Build RetinaNet as published: maps at strides 8 to 128, the two coarsest computed from the backbone's last map,
    and nine anchors per location.
    """
    first_map = min(1, len(pyramid.channels) - 1)
    extra_blocks = LastLevelP6P7(pyramid.channels[-1], config.channels)
    backbone = DetectionBackbone(pyramid, config.channels, first_map, extra_blocks)
    sides = [config.anchor_size * 2**i for i in range(len(pyramid.channels) - first_map + 2)]
    sizes = tuple(tuple(int(side * 2 ** (octave / 3)) for octave in range(3)) for side in sides)
    anchors = AnchorGenerator(sizes, (_ASPECT_RATIOS,) * len(sizes))
    return RetinaNet(backbone, config.num_classes + 1, anchor_generator=anchors, **options)


def _build_mask_rcnn(config: DetectorConfig, pyramid: PyramidBackbone, options: dict[str, Any]) -> MaskRCNN:
    """Build Mask R-CNN as published: strides 4 to 64, three anchors per location, two box layers, four mask layers."""
    backbone = DetectionBackbone(pyramid, config.channels, 0, LastLevelMaxPool())
    map_names = [str(i) for i in range(len(pyramid.channels))]
    sizes = tuple((config.anchor_size * 2**i,) for i in range(len(map_names) + 1))
    width, classes = config.channels, config.num_classes + 1
    scale = 224 * config.anchor_size // _ANCHOR_SIZE  # side of boxes that are pooled from the third map
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, (_ASPECT_RATIOS,) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(map_names, _BOX_POOL_SIZE, 2, canonical_scale=scale),
        box_head=TwoMLPHead(width * _BOX_POOL_SIZE**2, config.head_channels),
        box_predictor=FastRCNNPredictor(config.head_channels, classes),
        mask_roi_pool=MultiScaleRoIAlign(map_names, _MASK_POOL_SIZE, 2, canonical_scale=scale),
        mask_head=MaskRCNNHeads(width, [width] * 4, dilation=1),
        mask_predictor=MaskRCNNPredictor(width, width, classes),
        **options,
    )


_BUILDERS = {"retinanet": _build_retinanet, "mask_rcnn": _build_mask_rcnn}
