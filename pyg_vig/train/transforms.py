"""From an image to a normalised tensor, with the random changes that suit each kind of data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torchvision.transforms import InterpolationMode, v2

MEAN, STD = 0.5, 0.5  # of every channel, as the published ViG and Pyramid ViG were trained

_BICUBIC = InterpolationMode.BICUBIC


def evaluation_transform(size: int, channels: int, crop: float = 1.0) -> nn.Module:
    """Resize, cut out the centre, normalise.

    Args:
        size: side of the result in pixels.
        channels: channels of the result, 1 or 3; images are converted.
        crop: share of the (shorter) side that is kept.
    """
    resize = v2.Resize(round(size / crop), interpolation=_BICUBIC, antialias=True)
    return v2.Compose([*_begin(channels), resize, v2.CenterCrop(size), *_end(channels)])


def training_transform(augment: str, size: int, channels: int) -> nn.Module:
    """Random changes, then as for evaluation.

    Args:
        augment: ``"affine"``, ``"crop"``, ``"resized_crop"`` or ``"none"``.
        size: side of the result in pixels.
        channels: channels of the result, 1 or 3; images are converted.

    Raises:
        ValueError: for an unknown ``augment``, or another number of channels.
    """
    if augment not in _RANDOM:
        raise ValueError(f"augment must be one of {', '.join(_RANDOM)}, got {augment!r}")
    return v2.Compose([*_begin(channels), *_RANDOM[augment](size), *_end(channels)])


def _begin(channels: int) -> list[nn.Module]:
    if channels not in (1, 3):
        raise ValueError(f"images are read with 1 or 3 channels, but the network takes in_channels={channels}")
    return [v2.ToImage(), v2.Grayscale() if channels == 1 else v2.RGB()]


def _end(channels: int) -> list[nn.Module]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN] * channels, [STD] * channels), v2.ToPureTensor()]


def _resized(size: int) -> list[nn.Module]:
    return [v2.Resize(size, interpolation=_BICUBIC, antialias=True), v2.CenterCrop(size)]


def _affine(size: int) -> list[nn.Module]:
    change = v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR)
    return [*_resized(size), change]


def _crop(size: int) -> list[nn.Module]:
    return [*_resized(size), v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()]


def _resized_crop(size: int) -> list[nn.Module]:
    return [v2.RandomResizedCrop(size, interpolation=_BICUBIC, antialias=True), v2.RandomHorizontalFlip()]


_RANDOM: dict[str, Callable[[int], list[nn.Module]]] = {
    "affine": _affine,
    "crop": _crop,
    "resized_crop": _resized_crop,
    "none": _resized,
}
