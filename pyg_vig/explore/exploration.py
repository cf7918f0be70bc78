"""Build the interactive page from a network and a photo."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from pyg_vig.atomic import write_atomically
from pyg_vig.explore.capture import capture_graphs
from pyg_vig.explore.page import render
from pyg_vig.explore.picture import data_url, read_photo
from pyg_vig.models import VisionGNN
from pyg_vig.models.denormalize import denormalize

if TYPE_CHECKING:
    from PIL.Image import Image


class Exploration:
    """An interactive page that notebooks display and that is saved as one file, which needs no internet connection.

    Args:
        html: HTML of the page.

    Example:
        >>> from pyg_vig.explore import Exploration
        >>> page = Exploration("<!doctype html><title>Patches</title>")
        >>> page.save("explorer.html").name
        'explorer.html'
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.html.encode()) / 1e6:.2f} MB; save(path) writes it)"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, atomically."""
        write_atomically(path, self.html.encode())
        return Path(path)

    def _repr_html_(self) -> str:
        frame = 'width="100%" height="700" style="border: 0" title="Patch explorer" sandbox="allow-scripts"'
        return f'<iframe srcdoc="{escape(self.html)}" {frame}></iframe>'


def explore(
    model: nn.Module,
    image: Tensor | Image | np.ndarray | str | os.PathLike[str],
    *,
    title: str = "Which patches does the network link?",
    caption: str = "",
    size: int | None = None,
    picture: Tensor | Image | None = None,
) -> Exploration:
    """Make an interactive page: point at a patch of the image to see its neighbours in any block.

    Neighbours are listed with the conv's weights if it has them (cross-attention, and PyG convs that support
    ``return_attention_weights``), otherwise with the cosine similarity of the features.

    Args:
        model: a network with :class:`~pyg_vig.nn.Grapher` modules on grids; it is run in evaluation mode.
        image: input of the network, ``(C, H, W)``; or, for a :class:`~pyg_vig.models.VisionGNN`, a photo (PIL image,
            uint8 array or file), which is resized, cropped to a square and normalised.
        title: heading of the page.
        caption: text below the heading; it should say how the network was trained.
        size: side in pixels of a photo after resizing; by default the network's ``image_size``.
        picture: picture to show instead of the image, with the same field of view: pixels ``(C, H, W)`` in [0, 1], or
            a PIL image.

    Raises:
        ValueError: for a photo if the model is not a :class:`~pyg_vig.models.VisionGNN`, a size below 1, and in the
            cases of :func:`capture_graphs`.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.explore import explore
        >>> page = explore(pyg_vig.create_model("vig_nano"), torch.rand(3, 32, 32), caption="not trained")
        >>> "not trained" in page.html, "https:" in page.html
        (True, False)
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if not isinstance(image, Tensor):
        if not isinstance(model, VisionGNN):
            raise ValueError(f"photos need a VisionGNN as model, got {type(model).__name__}: pass a tensor (C, H, W)")
        image, pixels = read_photo(image, size or model.config.image_size, model)
    else:
        pixels = denormalize(image, model)
    blocks = capture_graphs(model, image)
    picture_url = data_url(pixels if picture is None else picture)
    return Exploration(render(title, caption, picture_url, (image.size(1), image.size(2)), blocks))
