"""The random changes of images that suit each kind of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pyg_vig.preprocessing import HALF, Fit, Pixels, normalise_for


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
    """Random changes, then as for evaluation.

    Args:
        augment: ``"affine"``, ``"crop"``, ``"resized_crop"`` or ``"none"``.
        size: side of the result in pixels.
        channels: channels of the result, 1 or 3; images are converted.
        rand_augment: RandAugment after those, in timm's notation.
        erase: probability to fill a random rectangle with noise, last of all.
        mean: as for evaluation.
        std: as for evaluation.

    Raises:
        ValueError: for an unknown ``augment``, or another number of channels.
    """
    if augment not in _RANDOM:
        raise ValueError(f"augment must be one of {', '.join(_RANDOM)}, got {augment!r}")
    steps: list[Callable[[Any], Any]] = [Pixels(channels), *_RANDOM[augment](size)]
    if rand_augment is not None:
        steps.append(RandAugment(rand_augment, size, mean))
    steps.append(normalise_for(channels, mean, std))
    if erase:
        steps.append(v2.RandomErasing(erase, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), value="random"))
    return v2.Compose(steps)


class PaddedCrop(nn.Module):
    """Shift at random by up to an eighth of the size, with black behind, and mirror every second image.

    One function for what two transforms do: on small images the calls cost more than the pixels.

    Args:
        size: side of the image in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.padding = size // 8

    def forward(self, image: Tensor) -> Tensor:
        """Change one image."""
        padded = nn.functional.pad(image, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        image = padded[:, top : top + self.size, left : left + self.size]
        return image.flip(2) if torch.rand(()) < 0.5 else image


class RandAugment(nn.Module):
    """timm's RandAugment, which the published recipes name, on tensors.

    Args:
        policy: such as ``"rand-m9-mstd0.5-inc1"``.
        size: side of the images in pixels, for the length of shifts.
        mean: colour behind the image, of red, green and blue in [0, 1].
    """

    def __init__(self, policy: str, size: int, mean: Sequence[float]) -> None:
        super().__init__()
        from timm.data import rand_augment_transform

        colour = tuple(min(255, round(255 * value)) for value in mean)
        try:
            self.change = rand_augment_transform(policy, {"translate_const": int(size * 0.45), "img_mean": colour})
        except (AssertionError, ValueError) as error:
            raise ValueError(f"rand_augment must be as timm writes it, rand-m9-mstd0.5-inc1, got {policy!r}") from error

    def forward(self, image: Tensor) -> Tensor:
        """Change one image; grey ones go through colour and back."""
        changed = F.pil_to_tensor(self.change(F.to_pil_image(F.grayscale_to_rgb(image))))
        return F.rgb_to_grayscale(changed) if image.size(0) == 1 else changed


def _affine(size: int) -> list[nn.Module]:
    change = v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR)
    return [Fit(size), change]


def _crop(size: int) -> list[nn.Module]:
    return [Fit(size), PaddedCrop(size)]


def _resized_crop(size: int) -> list[nn.Module]:
    return [
        v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(),
    ]


def _none(size: int) -> list[nn.Module]:
    return [Fit(size)]


_RANDOM: dict[str, Callable[[int], list[nn.Module]]] = {
    "affine": _affine,
    "crop": _crop,
    "resized_crop": _resized_crop,
    "none": _none,
}
