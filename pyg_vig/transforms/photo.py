"""Image files as everything here takes them: upright, in colour."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def open_photo(file: str | os.PathLike[str]) -> Image:
    """Open an image file as PIL's RGB, turned as the camera was held; 16 bits become 8.

    Args:
        file: in any format that Pillow reads.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, a damaged one, or too large for Pillow to open it without asking.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pyg_vig.transforms.photo import open_photo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (40, 30)).save(f"{folder}/photo.png")
        ...     open_photo(f"{folder}/photo.png").mode
        'RGB'
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return as_photo(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is no image that can be read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file} is too large ({error}): make it smaller first") from error
    except (OSError, SyntaxError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, not of Pillow's decoders
            raise
        raise ValueError(f"{file} is damaged: {error}") from error


def as_photo(image: Image) -> Image:
    """The same of an image that is open already."""
    return in_color(upright(image))


def upright(image: Image) -> Image:
    """An image turned as the camera was held, which its EXIF data tell."""
    from PIL import ExifTags, ImageOps

    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image  # which copies in any case


def in_color(image: Image) -> Image:
    """An image as PIL's RGB; 16 bits become 8.

    Raises:
        ValueError: for pixels in floating point, of which nothing tells what is white.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("an image of floating point (mode F) does not tell what is white: convert it to 8 or 16 bits")

    pixels = sixteen_bits(image)  # of which Pillow would cut off all above 255
    return (image if pixels is None else Image.fromarray((pixels >> 8).astype(np.uint8))).convert("RGB")


def sixteen_bits(image: Any) -> np.ndarray | None:
    """The pixels of a PIL image of 16 bits, ``(H, W)`` uint16, in any of its modes; ``None`` for all else."""
    if not str(getattr(image, "mode", "")).startswith("I"):
        return None
    return np.asarray(image).clip(0, 0xFFFF).astype(np.uint16)
