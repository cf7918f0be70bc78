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
from pyg_vig.plot.style import COLORS, draw_grey, draw_star, draw_values, drawn_grid, node_at


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
    sources = source_layout or layout
    first = node_at(0, 0, graph, sources)
    counts = times_chosen(edge_index, sources.num_nodes, pooled=sources is not layout)
    chosen = counts[first : first + sources.nodes_per_graph].view(drawn_grid(sources))
    ax = draw_grey(image, ax)
    draw_values(ax, chosen, vmin=0)
    for hub in chosen.flatten().argsort(descending=True, stable=True)[:stars].tolist():
        draw_star(ax, divmod(hub, chosen.size(1)), (chosen.size(0), chosen.size(1)), COLORS[0])
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
    for turn, (name, values) in enumerate(counts.items()):
        degrees = np.sort(values.detach().cpu().numpy())
        share = 1 - np.arange(len(degrees)) / len(degrees)
        ax.step(degrees, share, where="pre", color=COLORS[turn % len(COLORS)], label=name)
    ax.set(xlabel="nodes that have it as neighbour", ylabel="share of the nodes with at least so many", ylim=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax
