"""Any network as a backbone of four feature maps, whatever its own strides, and how those on it are configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from torch import Tensor, nn

from pyg_vig.models import FeatureExtractor, build_model, get_config, load_checkpoint
from pyg_vig.nn.norm import freeze_batch_norms

_FINEST = 4  # stride of the first map

Config = TypeVar("Config", bound="DecoderConfig")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """What detectors and segmenters are built from alike; plain data, kept in their checkpoints.

    Args:
        backbone: name of the network.
        backbone_options: fields of its configuration to replace.
        num_classes: number of classes.
        classes: their names.
        freeze_norm: whether the backbone's batch norms stay as they are.
        options: further arguments of the library's class.

    Raises:
        ValueError: for no classes, or another number of names.
    """

    backbone: str
    num_classes: int
    backbone_options: dict[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    freeze_norm: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1 (a background does not count), got {self.num_classes}")
        if self.classes and len(self.classes) != self.num_classes:
            raise ValueError(f"{len(self.classes)} names for {self.num_classes} classes")

    @classmethod
    def of(cls: type[Config], weights: str | None, freeze_norm: bool | None, **values: Any) -> Config:
        """The configuration with these values; without a ``freeze_norm``, norms are frozen if there are ``weights``.

        Raises:
            ValueError: for an unknown field, or what the class refuses.
        """
        unknown = sorted(set(values) - {entry.name for entry in fields(cls)})
        if unknown:
            raise ValueError(f"unknown option {', '.join(unknown)}: arguments of the library go into options={{...}}")
        return cls(freeze_norm=weights is not None if freeze_norm is None else freeze_norm, **values)

    def pyramid(self, weights: str | None) -> PyramidBackbone:
        """The backbone, with the weights of a checkpoint if there is one."""
        return PyramidBackbone(self.backbone, weights=weights, freeze_norm=self.freeze_norm, **self.backbone_options)


class PyramidBackbone(nn.Module):
    """Feature maps at strides 4, 8, 16, 32, ... of any network.

    Pyramids and hybrids have these already. Maps of an isotropic network, all at one stride, are brought there by
    transposed convolutions and max-pooling, as is usual for plain vision transformers.

    Args:
        name: name of the network.
        weights: checkpoint of the network, in any format of :func:`pyg_vig.load_checkpoint`; its head is not used.
        freeze_norm: keep statistics, scale and shift of all batch norms as they are, also in training: batches of a
            few large images are too small for them. Holds after a conversion to ``SyncBatchNorm`` as well.
        **options: fields of the network's configuration.

    Raises:
        ValueError: for another number of channels than three, or what the network refuses.

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
                f"detectors and segmenters read colour images: in_channels must be 3, got {options['in_channels']}"
            )
        model = build_model(get_config(name, **options))
        if weights is not None:
            load_checkpoint(model, weights, reset_head=True)
        self.config = model.config
        self.body = FeatureExtractor(model)
        self.channels = [info["num_chs"] for info in self.body.feature_info]
        self.strides = [_FINEST * 2**i for i in range(len(self.channels))]
        self.resample = nn.ModuleList(
            _resample(channels, info["reduction"], stride)
            for channels, info, stride in zip(self.channels, self.body.feature_info, self.strides, strict=True)
        )
        self.freeze_norm = freeze_norm
        self.train(self.training)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps, finest first."""
        return [resample(x) for resample, x in zip(self.resample, self.body(images), strict=True)]

    def train(self, mode: bool = True) -> PyramidBackbone:
        """Switch between training and evaluation; frozen norms stay in evaluation."""
        super().train(mode)
        if self.freeze_norm:
            freeze_batch_norms(self.body, affine=True)  # now, not once: a conversion may have replaced them
        return self


def _resample(channels: int, stride: int, wanted: int) -> nn.Module:
    """From a map at one stride to one at another; both are powers of two."""
    if wanted >= stride:
        return nn.Identity() if wanted == stride else nn.MaxPool2d(wanted // stride)
    layers: list[nn.Module] = []
    while stride > wanted:
        layers += [nn.ConvTranspose2d(channels, channels, 2, 2), nn.GELU()]
        stride //= 2
    return nn.Sequential(*layers[:-1])
