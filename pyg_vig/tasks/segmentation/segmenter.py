"""Decoders of segmentation-models-pytorch on the backbones of this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.encoders import encoders
from torch import Tensor, nn

from pyg_vig.tasks.pyramid import DenseModelConfig, PyramidBackbone

_STRIDE = 32  # of the coarsest map: images are padded to multiples of it


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig(DenseModelConfig):
    """Configuration of a segmenter; plain data, stored in its checkpoint.

    Args:
        decoder: ``"fpn"`` (Semantic FPN) or ``"upernet"``.
        backbone: name of the backbone network.
        backbone_options: fields of the backbone's configuration to replace.
        num_classes: number of classes; pixels without a label do not count as one.
        classes: names of the classes.
        freeze_norm: whether the backbone's batch norms are frozen.
        options: further arguments of the decoder's class in segmentation-models-pytorch, such as
            ``decoder_segmentation_channels`` and ``decoder_dropout``.

    Raises:
        ValueError: for an unknown decoder, or if ``num_classes`` is below 1.

    Example:
        >>> from pyg_vig.tasks.segmentation import SegmenterConfig
        >>> SegmenterConfig(decoder="fpn", backbone="attention_vig_b", num_classes=150).freeze_norm
        False
    """

    decoder: str

    def __post_init__(self) -> None:
        if self.decoder not in _DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(_DECODERS)}, got {self.decoder!r}")
        super().__post_init__()


class SegmentationEncoder(nn.Module):
    """Wrap a :class:`~pyg_vig.tasks.pyramid.PyramidBackbone` as an encoder of segmentation-models-pytorch.

    Args:
        backbone: the backbone; its four maps are the last four of the encoder's five.
    """

    output_stride = _STRIDE

    def __init__(self, backbone: PyramidBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        # The map at stride 2 has no channels, as in the library's own transformer encoders.
        self.out_channels = [backbone.config.in_channels, 0, *backbone.channels]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Do nothing: the library calls this, but the backbone has the right number of channels already."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the images, an empty map at stride 2, and the backbone's maps."""
        batch, _, height, width = images.shape
        return [images, images.new_empty(batch, 0, height // 2, width // 2), *self.backbone(images)]


class Segmenter(nn.Module):
    """Segmentation network that returns class scores for every pixel of images of any size.

    Args:
        network: a network of segmentation-models-pytorch.
        config: the configuration that it was built from.

    Shapes:
        - **images**: ``(B, 3, H, W)`` in [0, 1]
        - **output**: ``(B, num_classes, H, W)``
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: SegmenterConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        backbone = cast("SegmentationEncoder", network.encoder).backbone.config
        self.register_buffer("mean", _per_channel(backbone.mean), persistent=False)
        self.register_buffer("std", _per_channel(backbone.std), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise, pad to multiples of 32, segment, and crop the padding off."""
        if not images.is_floating_point():
            raise ValueError(f"images must be floating-point values in [0, 1], got {images.dtype}: divide them by 255")
        height, width = images.shape[-2:]
        x = (images - self.mean) / self.std
        x = F.pad(x, (0, -width % _STRIDE, 0, -height % _STRIDE))
        return self.network(x)[..., :height, :width]


def segment(model: nn.Module, images: Tensor, size: int) -> Tensor:
    """Return the class of every pixel: images are resized for the network, and its scores are resized back.

    Args:
        model: a segmenter.
        images: ``(B, 3, H, W)`` in [0, 1].
        size: shorter side of the resized images in pixels.

    Returns:
        Classes ``(B, H, W)``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pyg_vig.tasks.segmentation import segment
        >>> segment(nn.Conv2d(3, 5, 1), torch.rand(1, 3, 40, 60), size=20).shape
        torch.Size([1, 40, 60])
    """
    height, width = images.shape[-2:]
    scale = size / min(height, width)
    resized = (round(height * scale), round(width * scale))
    x = F.interpolate(images, resized, mode="bilinear", align_corners=False, antialias=True)
    scores = F.interpolate(model(x), (height, width), mode="bilinear", align_corners=False)
    return scores.argmax(1)


def build_segmenter(
    decoder: str,
    *,
    backbone: str,
    num_classes: int,
    weights: str | None = None,
    freeze_norm: bool | None = None,
    **config: Any,
) -> Segmenter:
    """Build Semantic FPN or UPerNet of segmentation-models-pytorch on any network of this package.

    Args:
        decoder: ``"fpn"`` or ``"upernet"``.
        backbone: name of the backbone network, see :func:`pyg_vig.list_models`.
        num_classes: number of classes (150 for ADE20K).
        weights: checkpoint of the backbone.
        freeze_norm: whether the backbone's batch norms are frozen; by default only if ``weights`` are given.
        **config: other fields of :class:`SegmenterConfig`: ``backbone_options``, ``classes``, ``options``.

    Raises:
        ValueError: for an unknown decoder, backbone or field.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.segmentation import build_segmenter
        >>> options = {"patch_size": 8, "depth": 4}
        >>> model = build_segmenter("fpn", backbone="vig_nano", num_classes=5, backbone_options=options).eval()
        >>> model(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 5, 50, 70])
    """
    config |= {"decoder": decoder, "backbone": backbone, "num_classes": num_classes}
    return from_config(SegmenterConfig.create(weights, freeze_norm, **config), weights)


def from_config(config: SegmenterConfig, weights: str | None = None) -> Segmenter:
    """Build the segmenter of a configuration, which it keeps as ``model.config``."""
    backbone = config.build_backbone(weights)
    if len(backbone.channels) != 4:
        raise ValueError(
            f"decoders need a backbone with four feature maps, got {config.backbone} with {len(backbone.channels)}"
        )
    encoders[_ENCODER_NAME] = {"encoder": lambda **unused: SegmentationEncoder(backbone), "params": {}}
    try:
        network = _DECODERS[config.decoder](
            _ENCODER_NAME, encoder_weights=None, in_channels=3, classes=config.num_classes, **config.options
        )
    finally:
        del encoders[_ENCODER_NAME]
    return Segmenter(network, config)


_ENCODER_NAME = "pyg_vig"
_DECODERS = {"fpn": smp.FPN, "upernet": smp.UPerNet}


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
