"""Colours, images and marks shared by all figures."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from pyg_vig.graph import Layout

# Distinguishable for colour-blind readers (Okabe and Ito, "Color Universal Design"), strongest contrasts first.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

WHITE_FRACTION = 0.35  # of white blended into an image, so that the colours stand out
_OPACITY = 0.65  # of values over a greyscale image


def to_picture(image: Tensor | ArrayLike) -> np.ndarray:
    """Convert an image to the format of matplotlib, ``(H, W, 3)`` in [0, 1].

    Args:
        image: tensor ``(C, H, W)`` or array ``(H, W)`` or ``(H, W, C)``, uint8 or in [0, 1], with 1 or 3 channels.

    Raises:
        ValueError: for another shape, or an integer dtype other than uint8.
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # NumPy has no bfloat16
        array = np.asarray(image.permute(1, 2, 0) if image.dim() == 3 else image)
    else:
        array = np.asarray(image)
    if array.dtype == np.uint8:
        array = array / 255
    if array.dtype.kind in "iu":
        raise ValueError(f"expected an image of dtype uint8, or floating point in [0, 1], got {array.dtype}")
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"expected an image with 1 or 3 channels, got an array of shape {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3)).clip(0, 1)


def create_panels(
    rows: int, columns: int, side: float, image: Tensor, *, below: float = 0.0
) -> tuple[Figure, np.ndarray]:
    """Create a figure and its axes, with the aspect ratio of the images and room for a title and a caption.

    Args:
        rows: number of rows of panels.
        columns: number of columns of panels.
        side: longer side of a panel in inches.
        image: one of the images, ``(C, H, W)``.
        below: space for text below every panel, in inches.
    """
    height, width = (side * length / max(image.shape[1:]) for length in image.shape[1:])
    size = (width * columns + 0.3, (height + below) * rows + 0.9)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def draw_image(image: Tensor | ArrayLike, ax: Axes | None = None, *, white_fraction: float = WHITE_FRACTION) -> Axes:
    """Draw an image as a pale background without ticks, in pixel coordinates.

    Args:
        image: as for :func:`to_picture`.
        ax: where to draw; a new figure by default.
        white_fraction: fraction of white blended into the image.
    """
    ax = _draw_picture(white_fraction + (1 - white_fraction) * to_picture(image), ax, interpolation="bilinear")
    ax.spines[:].set_color("0.8")
    return ax


def draw_grayscale(image: Tensor | ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw an image in greyscale, as the background for :func:`draw_values`."""
    return _draw_picture(to_picture(image).mean(-1), ax, cmap="gray", vmin=0, vmax=1)


def draw_values(ax: Axes, values: Tensor, *, cmap: str = "viridis", vmin: float | None = None) -> None:
    """Draw values of patches or pixels as colours over the image.

    Args:
        ax: the axes that :func:`draw_grayscale` returned.
        values: ``(H_i, W_i)``; the patches cover the whole image.
        cmap: name of a matplotlib colour map.
        vmin: lower end of the colour scale; by default the smallest value.
    """
    array, extent = values.detach().cpu().float().numpy(), ax.images[-1].get_extent()
    ax.imshow(array, cmap=cmap, vmin=vmin, alpha=_OPACITY, extent=extent, interpolation="nearest")


def _draw_picture(picture: np.ndarray, ax: Axes | None, **options: Any) -> Axes:
    """Draw a picture without ticks in pixel coordinates, in a new figure by default."""
    if ax is None:
        _, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    height, width = picture.shape[:2]
    ax.imshow(picture, extent=(0, width, height, 0), **options)
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    return ax


def draw_star(ax: Axes, patch: tuple[int, int], grid: tuple[int, int], color: str) -> None:
    """Mark a patch with a star; it is given by row and column in a grid over the image."""
    y, x = ((index + 0.5) / n * length for index, n, length in zip(patch, grid, image_size(ax), strict=True))
    ax.plot(x, y, marker="*", markersize=13, color=color, markeredgecolor="white", markeredgewidth=1.2, zorder=5)


def image_size(ax: Axes) -> tuple[float, float]:
    """Return the height and width in pixels of the image on the axes."""
    _, width, height, _ = ax.images[-1].get_extent()
    return height, width


def patch_grid(layout: Layout) -> tuple[int, int]:
    """Return the height and width, in patches, of the grid that a graph is drawn on.

    Raises:
        ValueError: for nodes that are not on a grid.
    """
    return layout.require_grid("plots need patches of an image")


def node_index(row: int, column: int, graph: int, layout: Layout) -> int:
    """Return the index of the node of a patch, in an image of a batch.

    Raises:
        ValueError: for nodes that are not on a grid, or a patch or image that does not exist.
    """
    height, width = patch_grid(layout)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"patch must lie in the grid of {height} x {width} patches, got ({row}, {column})")
    if not 0 <= graph < layout.num_graphs:
        raise ValueError(f"graph must be from 0 to {layout.num_graphs - 1} in this batch, got {graph}")
    return graph * layout.nodes_per_graph + row * width + column
