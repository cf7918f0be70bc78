"""Plots of graphs that are not grids of patches: superpixels over their image, neighbours in a point cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike
from torch import Tensor
from torch_geometric.data import Data

from pyg_vig.plot.neighbors import neighbors_of
from pyg_vig.plot.style import COLORS, draw_image
from pyg_vig.transforms.images import mean_colors


def plot_superpixels(
    image: Tensor | ArrayLike,
    data: Data,
    *,
    values: Tensor | None = None,
    cmap: str = "viridis",
    ax: Axes | None = None,
) -> Axes:
    """Draw the superpixels of an image as a graph: a dot in the mean colour of each, lines between adjacent ones.

    If the data has a ``segmentation``, the borders of the superpixels are drawn as well.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        data: the graph that :class:`~pyg_vig.transforms.ToSuperpixels` built from the image.
        values: values ``(N,)`` that colour the dots instead of the mean colours.
        cmap: name of a matplotlib colour map, for ``values``.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for data without ``pos`` or ``edge_index``.

    Example:
        >>> from skimage.data import astronaut
        >>> from pyg_vig.plot import plot_superpixels
        >>> from pyg_vig.transforms import ToSuperpixels
        >>> image = astronaut()[::8, ::8]
        >>> ax = plot_superpixels(image, ToSuperpixels(n_segments=20, keep_segmentation=True)(image))
    """
    if data.pos is None or data.edge_index is None:
        raise ValueError(f"expected a graph made by ToSuperpixels, with pos and edge_index, got {data}")
    ax = draw_image(image, ax)
    if data.get("segmentation") is not None:
        _draw_borders(ax, data.segmentation[0].cpu().numpy())
    pos = data.pos.detach().cpu().numpy()
    source, destination = data.edge_index.detach().cpu().numpy()
    each_once = source < destination
    segments = np.stack([pos[source[each_once]], pos[destination[each_once]]], axis=1)
    ax.add_collection(LineCollection(list(segments), colors="0.15", linewidths=0.9, zorder=2))
    colors = _mean_colors(data) if values is None else values.detach().cpu().numpy()
    ax.scatter(pos[:, 0], pos[:, 1], c=colors, cmap=None if values is None else cmap, s=34, edgecolors="0.15", zorder=3)
    return ax


def plot_points(
    points: Data | Tensor | ArrayLike,
    edge_index: Tensor | None = None,
    centers: Sequence[int] = (),
    *,
    colors: Sequence[str] = COLORS,
    size: float = 5,
    ax: Any = None,
) -> Any:
    """Draw a point cloud in 3D, with lines from chosen points to their neighbours.

    Args:
        points: a cloud ``(N, 3)``, or a ``Data`` with ``pos`` (and ``edge_index``, used if none is passed).
        edge_index: ``(2, E)``, source row first.
        centers: indices of the chosen points.
        colors: colours of the chosen points, repeated if there are more points.
        size: area of the dots, in square points.
        ax: where to draw, made with ``projection="3d"``; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for points that are not three-dimensional, axes that are not 3D, or centres without a graph.

    Example:
        >>> import torch
        >>> from pyg_vig.plot import plot_points
        >>> from pyg_vig.transforms import PointsToGraph
        >>> ax = plot_points(PointsToGraph(k=6)(torch.rand(50, 3)), centers=[0])
    """
    if isinstance(points, Data):
        points, edge_index = points.pos, points.edge_index if edge_index is None else edge_index
    pos = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points)
    if pos.ndim != 2 or pos.shape[1] != 3:
        raise ValueError(f"expected points (N, 3), got shape {pos.shape}")
    if edge_index is None:
        if len(centers):
            raise ValueError("centers need an edge_index: pass one, or a Data that has one")
        edge_index = torch.empty(2, 0, dtype=torch.int64)
    if ax is None:
        _, ax = plt.subplots(figsize=(4, 4), subplot_kw={"projection": "3d"}, layout="constrained")
    if ax.name != "3d":
        raise ValueError(
            f'expected 3D axes, got {ax.name}: make them with plt.subplots(subplot_kw={{"projection": "3d"}})'
        )
    ax.scatter(*pos.T, s=size, c="0.72", linewidths=0, depthshade=True)
    for i, center in enumerate(centers):
        _draw_neighborhood(ax, pos, neighbors_of(edge_index, center), center, colors[i % len(colors)], size)
    extent = np.ptp(pos, axis=0)
    ax.set_box_aspect(np.maximum(extent, extent.max() / 100), zoom=1.1)  # the same scale on all axes
    ax.set_axis_off()
    return ax


def _draw_neighborhood(ax: Any, pos: np.ndarray, neighbors: list[int], center: int, color: str, size: float) -> None:
    for neighbor in neighbors:
        ax.plot(*np.stack([pos[center], pos[neighbor]]).T, color=color, linewidth=1.0)
    ax.scatter(*pos[neighbors].T, s=4 * size, c=color, depthshade=False, edgecolors="white", linewidths=0.4)
    ax.plot(*pos[[center]].T, marker="*", markersize=14, color=color, markeredgecolor="white", zorder=5)


def _draw_borders(ax: Axes, segmentation: np.ndarray) -> None:
    """Draw lines between adjacent pixels of different superpixels."""
    y, x = np.nonzero(segmentation[:, 1:] != segmentation[:, :-1])
    vertical = np.stack([np.stack([x + 1, y], 1), np.stack([x + 1, y + 1], 1)], axis=1)
    y, x = np.nonzero(segmentation[1:] != segmentation[:-1])
    horizontal = np.stack([np.stack([x, y + 1], 1), np.stack([x + 1, y + 1], 1)], axis=1)
    ax.add_collection(LineCollection([*vertical, *horizontal], colors="white", linewidths=0.7, zorder=1))


def _mean_colors(data: Data) -> np.ndarray:
    colors = mean_colors(data).detach().cpu().numpy().clip(0, 1)
    return np.broadcast_to(colors, (len(colors), 3)) if colors.shape[1] == 1 else colors
