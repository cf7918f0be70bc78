"""Open the photo that a user specifies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def open_photo(name: str) -> Image:
    """Open an image file, or scikit-image's photo of a cat for ``"example"``."""
    from PIL import Image

    from pyg_vig.transforms import photo

    if name != "example":
        return photo.open_photo(name)
    from skimage.data import chelsea

    return Image.fromarray(chelsea())
