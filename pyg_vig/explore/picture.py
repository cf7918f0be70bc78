"""Convert photos to the input of the network and to the picture on the page."""

from __future__ import annotations

import base64
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyg_vig.models import VisionGNN
from pyg_vig.models.denormalize import denormalize
from pyg_vig.transforms.photo import open_photo, to_rgb, to_upright_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_DETAIL = 3  # maximum resolution of the picture in multiples of the network's, if the photo has it
_MAX_LOSSLESS_SIDE = 64  # images with sides up to this many pixels are stored losslessly


def read_photo(
    photo: Image | np.ndarray | str | os.PathLike[str], size: int, model: VisionGNN
) -> tuple[Tensor, Tensor]:
    """Convert a photo to the input of the network and to a picture of higher resolution, both ``(C, H, W)``.

    Args:
        photo: PIL image, uint8 array ``(H, W)`` or ``(H, W, 3)``, or image file.
        size: side of the network's input in pixels.
        model: the network, for its channels and pixel statistics.

    Returns:
        The normalised input, and the picture's pixels in [0, 1].
    """
    from PIL import Image

    from pyg_vig.preprocessing import transform_for

    if isinstance(photo, np.ndarray):
        photo = _from_array(photo)
    photo = to_upright_rgb(photo) if isinstance(photo, Image.Image) else open_photo(photo)
    factor = max(1, min(_MAX_DETAIL, min(photo.size) // size))
    image, high_resolution = (transform_for(model.config, size=side, crop=1.0)(photo) for side in (size, factor * size))
    return image, denormalize(high_resolution, model)


def _from_array(pixels: np.ndarray) -> Image:
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"expected a photo as an array (H, W) or (H, W, 3) of uint8, got {pixels.dtype} of shape {pixels.shape}"
        )
    return Image.fromarray(pixels)


def data_url(picture: Tensor | Image) -> str:
    """Encode a picture as a ``data:`` URL: pixels in [0, 1] of shape ``(C, H, W)``, or a PIL image.

    Tensors with one channel are shown inverted, dark on white, as in :func:`pyg_vig.plot.plot_blocks`.

    Raises:
        ValueError: if the number of channels is not 1 or 3.
    """
    from PIL import Image

    photo = Image.fromarray(_to_uint8(picture)) if isinstance(picture, Tensor) else picture
    format, options = ("png", {}) if max(photo.size) <= _MAX_LOSSLESS_SIDE else ("jpeg", {"quality": 88})
    content = io.BytesIO()
    to_rgb(photo).save(content, format, **options)
    return f"data:image/{format};base64,{base64.b64encode(content.getvalue()).decode()}"


def _to_uint8(picture: Tensor) -> Any:
    if picture.dim() != 3 or picture.size(0) not in (1, 3):
        raise ValueError(f"expected a picture (C, H, W) with 1 or 3 channels, got shape {tuple(picture.shape)}")
    picture = picture.detach().float().cpu()
    picture = (1 - picture).expand(3, -1, -1) if picture.size(0) == 1 else picture
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
