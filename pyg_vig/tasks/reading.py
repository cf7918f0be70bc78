"""Read the files of data sets, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from torchvision.transforms import v2
from torchvision.tv_tensors import Image as ImageTensor


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image, as :func:`PIL.Image.open` does.

    Raises:
        ValueError: if the file cannot be read, inside the context too, where PIL decodes it.
    """
    try:
        with Image.open(path) as file:
            yield file
    except Exception as error:  # decoders raise all kinds of errors for broken files
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): repair it, or remove it from the data set"
        ) from error


def read_rgb(path: str | Path) -> ImageTensor:
    """Read an image as RGB, ``(3, H, W)`` uint8, as it is stored: annotations refer to the unrotated image."""
    with open_image(path) as file:
        return v2.functional.to_image(file.convert("RGB"))
