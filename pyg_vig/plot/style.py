"""Colours and images as all figures show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

# Told apart by colour-blind readers (Okabe and Ito, "Color Universal Design"), strongest contrasts first.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def as_picture(image: Tensor | ArrayLike) -> np.ndarray:
    """An image as matplotlib wants it, ``(H, W, 3)`` in [0, 1].

    Args:
        image: tensor ``(C, H, W)`` or array ``(H, W)`` or ``(H, W, C)``, uint8 or in [0, 1], with 1 or 3 channels.

    Raises:
        ValueError: for another shape.
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        array = np.asarray(image.permute(1, 2, 0) if image.dim() == 3 else image)
    else:
        array = np.asarray(image)
    if array.dtype == np.uint8:
        array = array / 255
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"expected an image with 1 or 3 channels, got an array of shape {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3)).clip(0, 1)
