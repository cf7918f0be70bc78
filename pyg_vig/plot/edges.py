"""Plots of all edges of a block, or of the weighted edges of a few patches, over the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike
from torch import Tensor

from pyg_vig.analysis import edge_lengths, patch_centers
from pyg_vig.graph import Layout
from pyg_vig.plot.style import COLORS, draw_image, draw_star, drawn_grid, node_at, size_of

_THINNEST, _THICKEST = 0.3, 2.4  # line widths, in points
_THIN = 0.7  # width of lines without a weight
_FAINTEST = 0.15  # opacity of lines of weight zero


def plot_edges(
    image: Tensor | ArrayLike,
    edge_index: Tensor,
    layout: Layout,
    *,
    source_layout: Layout | None = None,
    weights: Tensor | None = None,
    graph: int = 0,
    cmap: str = "plasma",
    ax: Axes | None = None,
) -> Axes:
    """Draw every edge of a block between the centres of its patches, coloured by length or by weight.

    Short edges (or heavy ones) lie on top; the more edges there are, the more transparent they are.
    ``figure.colorbar(ax.collections[0])`` adds the colour scale: pixels or weights.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        edge_index: graph of one block, ``(2, E)``, as :func:`pyg_vig.record_graphs` records it.
        layout: grid of the destination nodes.
        source_layout: grid of the source nodes, if it is a different one.
        weights: weight of every edge, ``(E,)``, for instance from :func:`~pyg_vig.analysis.attention_weights`; heavier
            edges are thicker.
        graph: index of the image in the batch.
        cmap: name of a matplotlib colour map.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for nodes that are not on a grid, an image that is not in the batch, or if the number of weights
            differs from the number of edges.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout, grid_graph
        >>> from pyg_vig.plot import plot_edges
        >>> ax = plot_edges(torch.rand(3, 32, 32), grid_graph(4, 4), Layout.from_grid(1, 4, 4))
    """
    edges = edge_index.detach().cpu()
    if weights is not None and weights.shape != edges.shape[1:]:
        raise ValueError(f"weights must hold one number for each of {edges.size(1)} edges, got {tuple(weights.shape)}")
    node_at(0, 0, graph, layout)
    ax = draw_image(image, ax)
    places, source_places = _places(size_of(ax), layout, source_layout)
    mine = layout.batch_vector()[edges[1]] == graph
    if source_layout is None or source_layout is layout:
        mine &= edges[0] != edges[1]
    edges = edges[:, mine]
    shown = edge_lengths(edges, places, source_places) if weights is None else weights.detach().cpu().float()[mine]
    order = shown.argsort(descending=weights is None)
    width = _THIN if weights is None else _widths(shown[order])
    segments = torch.stack([source_places[edges[0]], places[edges[1]]], dim=1)[order]
    lines = LineCollection(list(segments.numpy()), cmap=cmap, linewidths=width, alpha=_opacity(len(order)))
    lines.set_array(shown[order].numpy())
    ax.add_collection(lines)
    return ax


def plot_attention(
    image: Tensor | ArrayLike,
    edge_index: Tensor,
    alpha: Tensor,
    layout: Layout,
    patches: Sequence[tuple[int, int]],
    *,
    source_layout: Layout | None = None,
    head: int | None = None,
    graph: int = 0,
    colors: Sequence[str] = COLORS,
    ax: Axes | None = None,
) -> Axes:
    """Mark chosen patches with a star, and draw lines to their neighbours, thicker and more opaque with the weight.

    Takes what :func:`~pyg_vig.analysis.attention_weights` returns for a block. The heaviest edge of every patch has the
    full width; the range of all weights that are drawn is written below.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        edge_index: graph of one block, ``(2, E)``.
        alpha: non-negative weights of the edges, ``(E, heads)`` or ``(E,)``.
        layout: grid of the destination nodes.
        patches: row and column of the centre patches in that grid.
        source_layout: grid of the source nodes, if it is a different one.
        head: index of the head; the mean over all heads by default.
        graph: index of the image in the batch.
        colors: colours of the centre patches, repeated if there are more patches.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for nodes that are not on a grid, a patch outside it, a head that does not exist, or if the number
            of weights differs from the number of edges.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.analysis import attention_weights
        >>> from pyg_vig.plot import plot_attention
        >>> model, image = pyg_vig.create_model("vig_nano", conv="cross_attention"), torch.rand(1, 3, 32, 32)
        >>> block = attention_weights(model, image)[-1]
        >>> ax = plot_attention(image[0], block.edge_index, block.alpha, block.layout, [(2, 3)])
    """
    edges, weights = edge_index.detach().cpu(), alpha.detach().cpu().float()
    if weights.size(0) != edges.size(1):
        raise ValueError(f"alpha must hold weights for each of {edges.size(1)} edges, got {tuple(alpha.shape)}")
    weights = weights if weights.dim() == 2 else weights.unsqueeze(1)
    if head is not None and not -weights.size(1) <= head < weights.size(1):
        raise ValueError(f"head {head} is not among the {weights.size(1)} of this block")
    weights = weights.mean(1) if head is None else weights[:, head]
    nodes = [node_at(row, column, graph, layout) for row, column in patches]
    ax = draw_image(image, ax)
    places, source_places = _places(size_of(ax), layout, source_layout)
    drawn = []
    for turn, node in enumerate(nodes):
        mine = edges[1] == node
        if not mine.any():
            continue
        order = weights[mine].argsort()
        _rays(ax, places[node], source_places[edges[0, mine][order]], weights[mine][order], colors[turn % len(colors)])
        drawn.append(weights[mine])
    for turn, patch in enumerate(patches):
        draw_star(ax, patch, drawn_grid(layout), colors[turn % len(colors)])
    if drawn:
        ax.set_xlabel(f"{torch.cat(drawn).min():#.2g} to {torch.cat(drawn).max():#.2g}", fontsize=8)
    return ax


def _rays(ax: Axes, center: Tensor, ends: Tensor, weights: Tensor, color: str) -> None:
    """Draw lines from a centre to its neighbours, and a dot on every neighbour, scaled by weight."""
    share = (weights / weights.max().clamp(min=1e-12)).clamp(min=0).numpy()
    tones = [to_rgba(color, _FAINTEST + (1 - _FAINTEST) * part) for part in share]
    segments = list(torch.stack([center.expand_as(ends), ends], dim=1).numpy())
    ax.add_collection(LineCollection(segments, colors="white", linewidths=_widths(weights) + 1.2, alpha=0.7))
    ax.add_collection(LineCollection(segments, colors=tones, linewidths=_widths(weights)))
    ax.scatter(ends[:, 0], ends[:, 1], s=6 + 50 * share, c=tones, edgecolors="white", linewidths=0.5, zorder=3)


def _places(size: tuple[float, float], layout: Layout, source_layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Centres of destination and source patches in pixels."""
    places = patch_centers(layout, size)
    return places, places if source_layout is None else patch_centers(source_layout, size)


def _opacity(lines: int) -> float:
    """Opacity at which the image stays visible behind so many lines."""
    return min(0.8, max(0.2, 500 / max(lines, 1)))


def _widths(weights: Tensor) -> np.ndarray:
    share = weights / weights.max().clamp(min=1e-12) if weights.numel() else weights
    return _THINNEST + (_THICKEST - _THINNEST) * share.clamp(min=0).numpy()
