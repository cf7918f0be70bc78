"""Augmentation for each kind of image data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pyg_vig.preprocessing import HALF, ResizeCrop, ToChannels, normalize_for


def training_transform(
    augment: str,
    size: int,
    channels: int,
    *,
    rand_augment: str | None = None,
    erase: float = 0.0,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
) -> Callable[[Any], Tensor]:
    """Build the training transform: augmentation, then normalisation as in evaluation.

    Args:
        augment: ``"affine"``, ``"crop"``, ``"resized_crop"`` or ``"none"``.
        size: side of the output in pixels.
        channels: channels of the output, 1 or 3; images are converted.
        rand_augment: RandAugment policy in timm's notation, applied after ``augment``.
        erase: probability of filling a random rectangle with noise, as the last step.
        mean: per-channel mean, as in evaluation.
        std: per-channel standard deviation, as in evaluation.

    Raises:
        ValueError: if ``augment`` is unknown, or the number of channels is not 1 or 3.
    """
    if augment not in _AUGMENTATIONS:
        raise ValueError(f"augment must be one of {', '.join(_AUGMENTATIONS)}, got {augment!r}")
    steps: list[Callable[[Any], Any]] = [ToChannels(channels), *_AUGMENTATIONS[augment](size)]
    if rand_augment is not None:
        steps.append(RandAugment(rand_augment, size, mean))
    steps.append(normalize_for(channels, mean, std))
    if erase:
        steps.append(v2.RandomErasing(erase, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), value="random"))
    return v2.Compose(steps)


class PaddedCrop(nn.Module):
    """Shift randomly by up to an eighth of the size, padding with black, and flip horizontally with probability 0.5.

    One module instead of two transforms, as for small images the call overhead outweighs the computation.

    Args:
        size: side of the image in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.padding = size // 8

    def forward(self, image: Tensor) -> Tensor:
        """Augment one image."""
        padded = nn.functional.pad(image, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        image = padded[:, top : top + self.size, left : left + self.size]
        return image.flip(2) if torch.rand(()) < 0.5 else image


class RandAugment(nn.Module):
    """timm's RandAugment, used by the published recipes, on tensors.

    Args:
        policy: policy in timm's notation, such as ``"rand-m9-mstd0.5-inc1"``.
        size: side of the images in pixels, which sets the maximum translation.
        mean: fill colour, as red, green and blue in [0, 1].
    """

    def __init__(self, policy: str, size: int, mean: Sequence[float]) -> None:
        super().__init__()
        from timm.data import rand_augment_transform

        color = tuple(min(255, round(255 * value)) for value in mean)
        try:
            self.augment = rand_augment_transform(policy, {"translate_const": int(size * 0.45), "img_mean": color})
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"rand_augment must be a timm policy such as rand-m9-mstd0.5-inc1, got {policy!r}"
            ) from error

    def forward(self, image: Tensor) -> Tensor:
        """Augment one image; greyscale images are converted to RGB and back."""
        augmented = F.pil_to_tensor(self.augment(F.to_pil_image(F.grayscale_to_rgb(image))))
        return F.rgb_to_grayscale(augmented) if image.size(0) == 1 else augmented


def _affine(size: int) -> list[nn.Module]:
    affine = v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR)
    return [ResizeCrop(size), affine]


def _crop(size: int) -> list[nn.Module]:
    return [ResizeCrop(size), PaddedCrop(size)]


def _resized_crop(size: int) -> list[nn.Module]:
    return [
        v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(),
    ]


def _no_augmentation(size: int) -> list[nn.Module]:
    return [ResizeCrop(size)]


_AUGMENTATIONS: dict[str, Callable[[int], list[nn.Module]]] = {
    "affine": _affine,
    "crop": _crop,
    "resized_crop": _resized_crop,
    "none": _no_augmentation,
}
