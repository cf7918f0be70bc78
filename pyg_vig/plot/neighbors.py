"""Plots of the neighbours of chosen patches, over the image (figure 4 of "Vision GNN", arXiv 2206.00272)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from torch import Tensor

from pyg_vig.graph import Layout
from pyg_vig.plot.style import COLORS, draw_image, draw_star, image_size, node_index, patch_grid

_MARGIN = 0.06  # between a frame and the border of its patch, as a fraction of the patch
_INSET = 0.1  # extra margin of every further frame on a patch, so that shared neighbours show all colours


def neighbors_of(edge_index: Tensor, node: int) -> list[int]:
    """Return the source nodes of the edges into ``node``, in the order of the edges (nearest first in k-NN graphs).

    Args:
        edge_index: ``(2, E)``, source row first.
        node: destination node.

    Example:
        >>> import torch
        >>> from pyg_vig.plot import neighbors_of
        >>> neighbors_of(torch.tensor([[0, 2, 1], [0, 0, 1]]), 0)
        [0, 2]
    """
    source, destination = edge_index.detach().cpu()
    return source[destination == node].tolist()


def plot_neighbors(
    image: Tensor | ArrayLike,
    edge_index: Tensor,
    layout: Layout,
    patches: Sequence[tuple[int, int]],
    *,
    source_layout: Layout | None = None,
    graph: int = 0,
    colors: Sequence[str] = COLORS,
    ax: Axes | None = None,
) -> Axes:
    """Mark chosen patches with a star, and their neighbours with frames of the same colour.

    Takes what :func:`pyg_vig.record_graphs` records, including graphs with pooled neighbours.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        edge_index: graph of one block, ``(2, E)``.
        layout: grid of the destination nodes.
        patches: row and column of the centre patches in that grid.
        source_layout: grid of the source nodes, if it is a different one (``graphs.source_layouts``).
        graph: index of the image in the batch.
        colors: colours of the centre patches, repeated if there are more patches.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for nodes that are not on a grid, or a patch outside it.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_neighbors
        >>> model, image = pyg_vig.create_model("vig_nano").eval(), torch.rand(1, 3, 32, 32)
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(image)
        >>> ax = plot_neighbors(image[0], graphs[-1], graphs.layouts[-1], [(2, 3), (6, 6)])
    """
    source_layout = source_layout or layout
    grid, source_grid = patch_grid(layout), patch_grid(source_layout)
    ax = draw_image(image, ax)
    size = np.array(image_size(ax))
    frame_counts: Counter[int] = Counter()
    for i, patch in enumerate(patches):
        node = node_index(*patch, graph, layout)
        color = colors[i % len(colors)]
        for neighbor in neighbors_of(edge_index, node):
            position = divmod(neighbor - graph * source_layout.nodes_per_graph, source_grid[1])
            _draw_frame(ax, neighbor, position, size / source_grid, color, _MARGIN + _INSET * frame_counts[neighbor])
            frame_counts[neighbor] += 1
        draw_star(ax, patch, grid, color)
    return ax


def _draw_frame(ax: Axes, node: int, position: tuple[int, int], patch_size: Any, color: str, inset: float) -> None:
    top, left = patch_size * (position[0] + inset, position[1] + inset)
    height, width = patch_size * max(0.1, 1 - 2 * inset)
    ax.add_patch(Rectangle((left, top), width, height, facecolor=color, alpha=0.35, linewidth=0))
    frame = Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=1.4, gid=f"neighbor {node}")
    frame.set_path_effects([withStroke(linewidth=2.8, foreground="white")])
    ax.add_patch(frame)
