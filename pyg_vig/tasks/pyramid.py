"""Backbone with feature maps at strides 4, 8, 16, ... from any network, and base class of its configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from torch import Tensor, nn

from pyg_vig.models import FeatureExtractor, build_model, get_config, load_checkpoint
from pyg_vig.nn.norm import freeze_batch_norms

_FINEST_STRIDE = 4  # stride of the first map

Config = TypeVar("Config", bound="DenseModelConfig")


@dataclass(frozen=True, kw_only=True)
class DenseModelConfig:
    """Base of the configurations of detectors and segmenters; plain data, stored in their checkpoints.

    Args:
        backbone: name of the backbone network.
        backbone_options: fields of the backbone's configuration to replace.
        num_classes: number of classes.
        classes: names of the classes.
        freeze_norm: whether the backbone's batch norms are frozen.
        options: further arguments of the class in torchvision or segmentation-models-pytorch.

    Raises:
        ValueError: if ``num_classes`` is below 1, or ``classes`` has a different number of names.
    """

    backbone: str
    num_classes: int
    backbone_options: dict[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    freeze_norm: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1 (not counting a background), got {self.num_classes}")
        if self.classes and len(self.classes) != self.num_classes:
            raise ValueError(
                f"classes must hold one name for each of {self.num_classes} classes, got {len(self.classes)} names"
            )

    @classmethod
    def create(cls: type[Config], weights: str | None, freeze_norm: bool | None, **values: Any) -> Config:
        """Create a configuration; if ``freeze_norm`` is ``None``, norms are frozen if ``weights`` are given.

        Raises:
            ValueError: for an unknown field or an invalid value.
        """
        unknown = sorted(set(values) - {entry.name for entry in fields(cls)})
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no field {', '.join(unknown)}: pass arguments of torchvision or "
                "segmentation-models-pytorch as options={...}"
            )
        return cls(freeze_norm=weights is not None if freeze_norm is None else freeze_norm, **values)

    def build_backbone(self, weights: str | None) -> PyramidBackbone:
        """Build the backbone, with the weights of a checkpoint if one is given."""
        return PyramidBackbone(self.backbone, weights=weights, freeze_norm=self.freeze_norm, **self.backbone_options)


class PyramidBackbone(nn.Module):
    """Backbone that returns feature maps at strides 4, 8, 16, 32, ... from any network.

    Pyramids and hybrids have such maps already. The maps of an isotropic network all have the same stride and are
    resampled by transposed convolutions and max-pooling, as is usual for plain vision transformers.

    Args:
        name: name of the network.
        weights: checkpoint of the network, in any format of :func:`pyg_vig.load_checkpoint`; its head is not used.
        freeze_norm: keep the statistics, scale and shift of all batch norms fixed during training, because batches of a
            few large images are too small for batch norm. Also holds after a conversion to ``SyncBatchNorm``.
        **options: fields of the network's configuration to replace.

    Raises:
        ValueError: if ``in_channels`` is not 3, or for invalid options of the network.

    Shapes:
        - **input**: images ``(B, 3, H, W)``
        - **output**: a list of maps ``(B, C_i, H / stride_i, W / stride_i)``

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.pyramid import PyramidBackbone
        >>> backbone = PyramidBackbone("vig_nano", patch_size=8).eval()
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 32, 16, 24), (1, 32, 8, 12), (1, 32, 4, 6), (1, 32, 2, 3)]
    """

    def __init__(self, name: str, *, weights: str | None = None, freeze_norm: bool = False, **options: Any) -> None:
        super().__init__()
        if options.get("in_channels", 3) != 3:
            raise ValueError(
                f"in_channels must be 3, got {options['in_channels']}: detectors and segmenters take colour images"
            )
        model = build_model(get_config(name, **options))
        if weights is not None:
            load_checkpoint(model, weights, reset_head=True)
        self.config = model.config
        self.body = FeatureExtractor(model)
        self.channels = [info["num_chs"] for info in self.body.feature_info]
        self.strides = [_FINEST_STRIDE * 2**i for i in range(len(self.channels))]
        self.resample = nn.ModuleList(
            _resampling_layers(channels, info["reduction"], stride)
            for channels, info, stride in zip(self.channels, self.body.feature_info, self.strides, strict=True)
        )
        self.freeze_norm = freeze_norm
        self.train(self.training)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        return [resample(x) for resample, x in zip(self.resample, self.body(images), strict=True)]

    def train(self, mode: bool = True) -> PyramidBackbone:
        """Switch between training and evaluation mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.freeze_norm:
            freeze_batch_norms(self.body, affine=True)  # in every call: a conversion may have replaced the norms
        return self


def _resampling_layers(channels: int, stride: int, target_stride: int) -> nn.Module:
    """Return layers that resample a map from ``stride`` to ``target_stride``; both are powers of two."""
    if target_stride >= stride:
        return nn.Identity() if target_stride == stride else nn.MaxPool2d(target_stride // stride)
    layers: list[nn.Module] = []
    while stride > target_stride:
        layers += [nn.ConvTranspose2d(channels, channels, 2, 2), nn.GELU()]
        stride //= 2
    return nn.Sequential(*layers[:-1])
