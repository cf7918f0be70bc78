"""Convert images to the tensors that networks take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from pyg_vig.models import ModelConfig
from pyg_vig.transforms.photo import make_upright, to_upright_rgb

__all__ = ["evaluation_transform", "transform_for"]

HALF = 0.5, 0.5, 0.5  # mean and standard deviation per channel, with which ViG and Pyramid ViG were trained


def evaluation_transform(
    size: int, channels: int, crop: float = 1.0, *, mean: Sequence[float] = HALF, std: Sequence[float] = HALF
) -> Callable[[Any], Tensor]:
    """Build the transform for evaluation: resize, crop the centre, normalise.

    Args:
        size: side of the result in pixels.
        channels: channels of the result, 1 or 3; images are converted.
        crop: fraction of the (shorter) side that is kept.
        mean: mean of red, green and blue, for pixels in [0, 1]; grey images use 0.5.
        std: standard deviation of red, green and blue; grey images use 0.5.

    Returns:
        A function that takes a PIL image or a uint8 tensor ``(C, H, W)``.

    Example:
        >>> from PIL import Image
        >>> from pyg_vig.preprocessing import evaluation_transform
        >>> evaluation_transform(224, channels=3, crop=0.9)(Image.new("RGB", (640, 480))).shape
        torch.Size([3, 224, 224])
    """
    return v2.Compose([ToChannels(channels), ResizeCrop(size, round(size / crop)), normalize_for(channels, mean, std)])


def transform_for(
    config: ModelConfig, *, size: int | None = None, crop: float | None = None
) -> Callable[[Any], Tensor]:
    """Build the :func:`evaluation_transform` of a network, with its size, channels and pixel statistics.

    Args:
        config: configuration of the network.
        size: side of the result in pixels, by default the network's.
        crop: fraction of the shorter side that is kept, by default the one that the network was evaluated with.

    Example:
        >>> import pyg_vig
        >>> from PIL import Image
        >>> from pyg_vig.preprocessing import transform_for
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


class ToChannels(nn.Module):
    """Convert any image to a tensor ``(channels, H, W)``, grey or in colour, and turn it upright by its EXIF data.

    Args:
        channels: 1 or 3.

    Raises:
        ValueError: if ``channels``, or the number of channels of an image, is not 1 or 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"images are read with 1 or 3 channels, but the network takes in_channels={channels}")
        self.channels = channels

    def forward(self, image: Any) -> Tensor:
        """Convert one image."""
        if not isinstance(image, Tensor):
            image = F.pil_to_tensor(make_upright(image) if image.mode == "L" else to_upright_rgb(image))
        if image.size(0) == self.channels:
            return image
        if image.size(0) not in (1, 3):
            raise ValueError(f"expected an image (C, H, W) of 1 or 3 channels, got shape {tuple(image.shape)}")
        return F.rgb_to_grayscale(image) if self.channels == 1 else F.grayscale_to_rgb(image)


class ResizeCrop(nn.Module):
    """Resize the shorter side and crop the centre; images that have the right size already are not changed.

    Args:
        size: side of the result in pixels.
        side: length of the shorter side before the crop; by default ``size``.
    """

    def __init__(self, size: int, side: int | None = None) -> None:
        super().__init__()
        self.size = size
        self.resize_crop = v2.Compose(
            [v2.Resize(side or size, interpolation=InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(size)]
        )
        self.keeps_size = side in (None, size)

    def forward(self, image: Tensor) -> Tensor:
        """Resize and crop one image."""
        return image if self.keeps_size and image.shape[1:] == (self.size, self.size) else self.resize_crop(image)


class Normalize(nn.Module):
    """Normalise pixels as ``(x - mean) / std``; those of uint8 and uint16 are first scaled to [0, 1].

    Args:
        mean: one value per channel.
        std: one value per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        if not image.is_floating_point():
            if image.dtype not in (torch.uint8, torch.uint16):
                raise ValueError(f"expected pixels of uint8, uint16 or in floating point, got {image.dtype}")
            image = image.float() / torch.iinfo(image.dtype).max
        return image.sub(self.mean).div_(self.std)


def normalize_for(channels: int, mean: Sequence[float], std: Sequence[float]) -> Normalize:
    """Return a :class:`Normalize` with these statistics for colour images, and with 0.5 for grey ones."""
    return Normalize(mean, std) if channels == 3 else Normalize(HALF[:1], HALF[:1])
