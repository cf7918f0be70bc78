"""A photo from what a user types."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def open_photo(name: str) -> Image:
    """Open an image file, or scikit-image's photo of a cat for ``"example"``."""
    from PIL import Image

    if name != "example":
        return Image.open(name).convert("RGB")
    from skimage.data import chelsea

    return Image.fromarray(chelsea())
