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
            return to_upright_rgb(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image file at {file}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is not an image in a supported format") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file} is too large ({error}): resize it first") from error
    except (OSError, SyntaxError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the file system, not from Pillow's decoders
            raise
        raise ValueError(f"{file} is damaged: {error}") from error


def to_upright_rgb(image: Image) -> Image:
    """Convert an opened image as :func:`open_photo` does."""
    return to_rgb(make_upright(image))


def make_upright(image: Image) -> Image:
    """Turn an image upright by its EXIF orientation."""
    from PIL import ExifTags, ImageOps

    is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if is_rotated else image  # exif_transpose always copies


def to_rgb(image: Image) -> Image:
    """Convert an image to PIL's RGB; 16 bits are reduced to 8.

    Raises:
        ValueError: for floating-point pixels, whose value for white is unknown.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("an image in floating point (mode F) has no defined white: convert it to 8 or 16 bits")

    pixels = uint16_pixels(image)  # Pillow would clip them at 255
    return (image if pixels is None else Image.fromarray((pixels >> 8).astype(np.uint8))).convert("RGB")


def uint16_pixels(image: Any) -> np.ndarray | None:
    """Return the pixels of a 16-bit PIL image of any mode as ``(H, W)`` uint16; ``None`` for anything else."""
    if not str(getattr(image, "mode", "")).startswith("I"):
        return None
    return np.asarray(image).clip(0, 0xFFFF).astype(np.uint16)
