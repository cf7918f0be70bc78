"""Plots of hubs, and of how often nodes are chosen as neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from torch import Tensor

from pyg_vig.analysis import times_chosen
from pyg_vig.graph import Layout
from pyg_vig.plot.style import COLORS, draw_grayscale, draw_star, draw_values, node_index, patch_grid


def plot_hubs(
    image: Tensor | ArrayLike,
    edge_index: Tensor,
    layout: Layout,
    *,
    source_layout: Layout | None = None,
    graph: int = 0,
    stars: int = 1,
    ax: Axes | None = None,
) -> Axes:
    """Colour every patch by the number of patches that have it as a neighbour, over the image in greyscale.

    ``figure.colorbar(ax.images[1])`` adds the scale.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        edge_index: graph of one block, ``(2, E)``, as :func:`pyg_vig.record_graphs` records it.
        layout: grid of the destination nodes.
        source_layout: grid of the source nodes, if it is a different one.
        graph: index of the image in the batch.
        stars: number of the largest hubs that are marked with a star.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for nodes that are not on a grid, or an image that is not in the batch.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout, grid_graph
        >>> from pyg_vig.plot import plot_hubs
        >>> ax = plot_hubs(torch.rand(3, 32, 32), grid_graph(4, 4), Layout.from_grid(1, 4, 4))
    """
    is_pooled = source_layout is not None and source_layout is not layout
    source_layout = source_layout or layout
    first = node_index(0, 0, graph, source_layout)
    counts = times_chosen(edge_index, source_layout.num_nodes, pooled=is_pooled)
    heatmap = counts[first : first + source_layout.nodes_per_graph].view(patch_grid(source_layout))
    ax = draw_grayscale(image, ax)
    draw_values(ax, heatmap, vmin=0)
    for hub in heatmap.flatten().argsort(descending=True, stable=True)[:stars].tolist():
        draw_star(ax, divmod(hub, heatmap.size(1)), (heatmap.size(0), heatmap.size(1)), COLORS[0])
    return ax


def plot_degrees(counts: Mapping[str, Tensor], *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of :func:`~pyg_vig.analysis.times_chosen`: the share of nodes at or above each value.

    Args:
        counts: for every name, the values of the nodes.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import times_chosen
        >>> from pyg_vig.graph import grid_graph
        >>> from pyg_vig.plot import plot_degrees
        >>> ax = plot_degrees({"a grid": times_chosen(grid_graph(4, 4), 16)})
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for i, (name, values) in enumerate(counts.items()):
        sorted_counts = np.sort(values.detach().cpu().numpy())
        share = 1 - np.arange(len(sorted_counts)) / len(sorted_counts)
        ax.step(sorted_counts, share, where="pre", color=COLORS[i % len(COLORS)], label=name)
    ax.set(xlabel="nodes that have it as a neighbour", ylabel="share of nodes with at least this many", ylim=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax
