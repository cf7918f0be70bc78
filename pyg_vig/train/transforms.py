"""From an image to a normalised tensor, with the random changes that suit each kind of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pyg_vig.models import ModelConfig

HALF = 0.5, 0.5, 0.5  # mean and deviation of every channel, as the published ViG and Pyramid ViG were trained

_BICUBIC = InterpolationMode.BICUBIC


def evaluation_transform(
    size: int, channels: int, crop: float = 1.0, *, mean: Sequence[float] = HALF, std: Sequence[float] = HALF
) -> Callable[[Any], Tensor]:
    """Resize, cut out the centre, normalise.

    Args:
        size: side of the result in pixels.
        channels: channels of the result, 1 or 3; images are converted.
        crop: share of the (shorter) side that is kept.
        mean: what is subtracted of red, green and blue, of pixels in [0, 1]; grey images take 0.5.
        std: what they are divided by.

    Returns:
        A function of a PIL image or a uint8 tensor ``(C, H, W)``.
    """
    return v2.Compose([Pixels(channels), Fit(size, round(size / crop)), _normalise(channels, mean, std)])


def transform_for(
    config: ModelConfig, *, size: int | None = None, crop: float | None = None
) -> Callable[[Any], Tensor]:
    """The :func:`evaluation_transform` that a network wants: its size, channels and pixel statistics.

    Args:
        config: configuration of the network.
        size: side of the result in pixels, if not the network's.
        crop: share of the shorter side that is kept, if not the one that the network was evaluated with.

    Example:
        >>> import pyg_vig
        >>> from PIL import Image
        >>> from pyg_vig.train import transform_for
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> model(transform_for(model.config)(Image.new("RGB", (60, 40)))[None]).shape
        torch.Size([1, 10])
    """
    return evaluation_transform(
        size or config.image_size,
        config.in_channels,
        config.crop if crop is None else crop,
        mean=config.mean,
        std=config.std,
    )


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
    steps.append(_normalise(channels, mean, std))
    if erase:
        steps.append(v2.RandomErasing(erase, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), value="random"))
    return v2.Compose(steps)


class Pixels(nn.Module):
    """Any image as a uint8 tensor ``(channels, H, W)``, grey or in colour.

    Args:
        channels: 1 or 3.

    Raises:
        ValueError: for another number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"images are read with 1 or 3 channels, but the network takes in_channels={channels}")
        self.channels = channels

    def forward(self, image: Any) -> Tensor:
        """Convert one image."""
        if not isinstance(image, Tensor):
            image = F.pil_to_tensor(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        if image.size(0) == self.channels:
            return image
        return F.rgb_to_grayscale(image) if self.channels == 1 else F.grayscale_to_rgb(image)


class Fit(nn.Module):
    """Resize the shorter side, cut out the centre; images that have the size already pass untouched.

    Args:
        size: side of the result in pixels.
        side: what the shorter side becomes before the cut; by default the same.
    """

    def __init__(self, size: int, side: int | None = None) -> None:
        super().__init__()
        self.size = size
        self.steps = v2.Compose([v2.Resize(side or size, interpolation=_BICUBIC, antialias=True), v2.CenterCrop(size)])
        self.exact = side in (None, size)

    def forward(self, image: Tensor) -> Tensor:
        """Fit one image."""
        return image if self.exact and image.shape[1:] == (self.size, self.size) else self.steps(image)


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


class Normalise(nn.Module):
    """Pixels to ``(x - mean) / std``; uint8 ones are divided by 255 before.

    Args:
        mean: one value a channel.
        std: one value a channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        image = image if image.is_floating_point() else image / 255
        return image.sub(self.mean).div_(self.std)


def _normalise(channels: int, mean: Sequence[float], std: Sequence[float]) -> Normalise:
    return Normalise(mean, std) if channels == 3 else Normalise(HALF[:1], HALF[:1])


def _affine(size: int) -> list[nn.Module]:
    change = v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR)
    return [Fit(size), change]


def _crop(size: int) -> list[nn.Module]:
    return [Fit(size), PaddedCrop(size)]


def _resized_crop(size: int) -> list[nn.Module]:
    return [v2.RandomResizedCrop(size, interpolation=_BICUBIC, antialias=True), v2.RandomHorizontalFlip()]


def _none(size: int) -> list[nn.Module]:
    return [Fit(size)]


_RANDOM: dict[str, Callable[[int], list[nn.Module]]] = {
    "affine": _affine,
    "crop": _crop,
    "resized_crop": _resized_crop,
    "none": _none,
}
