"""Open image files upright and in colour, the form that the package expects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def open_photo(file: str | os.PathLike[str]) -> Image:
    """Open an image file as a PIL image in RGB, upright by its EXIF orientation; 16 bits are reduced to 8.

    Args:
        file: image file in any format that Pillow reads.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an image, is damaged, or exceeds Pillow's limit on the number of pixels.

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
        if isinstance(error, OSError) and error.errno is not None:  # from the file system, not from Pillow's decoders
            raise
        raise ValueError(f"{file} is damaged: {error}") from error


def as_photo(image: Image) -> Image:
    """Convert an opened image as :func:`open_photo` does."""
    return in_color(upright(image))


def upright(image: Image) -> Image:
    """Turn an image upright by its EXIF orientation."""
    from PIL import ExifTags, ImageOps

    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image  # exif_transpose always copies


def in_color(image: Image) -> Image:
    """Convert an image to PIL's RGB; 16 bits are reduced to 8.

    Raises:
        ValueError: for floating-point pixels, whose value for white is unknown.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("an image of floating point (mode F) does not tell what is white: convert it to 8 or 16 bits")

    pixels = sixteen_bits(image)  # Pillow would clip them at 255
    return (image if pixels is None else Image.fromarray((pixels >> 8).astype(np.uint8))).convert("RGB")


def sixteen_bits(image: Any) -> np.ndarray | None:
    """Return the pixels of a 16-bit PIL image of any mode as ``(H, W)`` uint16; ``None`` for anything else."""
    if not str(getattr(image, "mode", "")).startswith("I"):
        return None
    return np.asarray(image).clip(0, 0xFFFF).astype(np.uint16)
