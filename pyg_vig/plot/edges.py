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
from pyg_vig.plot.style import COLORS, draw_image, draw_star, image_size, node_index, patch_grid

_MIN_LINE_WIDTH, _MAX_LINE_WIDTH = 0.3, 2.4  # line widths, in points
_LINE_WIDTH = 0.7  # width of lines without a weight
_MIN_OPACITY = 0.15  # opacity of lines of weight zero


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
        raise ValueError(
            f"weights must hold one number for each of {edges.size(1)} edges, got shape {tuple(weights.shape)}"
        )
    node_index(0, 0, graph, layout)
    ax = draw_image(image, ax)
    centers, source_centers = _patch_centers(image_size(ax), layout, source_layout)
    mask = layout.batch_vector()[edges[1]] == graph
    if source_layout is None or source_layout is layout:
        mask &= edges[0] != edges[1]
    edges = edges[:, mask]
    values = edge_lengths(edges, centers, source_centers) if weights is None else weights.detach().cpu()[mask].float()
    order = values.argsort(descending=weights is None)
    widths = _LINE_WIDTH if weights is None else _line_widths(values[order])
    segments = torch.stack([source_centers[edges[0]], centers[edges[1]]], dim=1)[order]
    lines = LineCollection(list(segments.numpy()), cmap=cmap, linewidths=widths, alpha=_opacity(len(order)))
    lines.set_array(values[order].numpy())
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
        raise ValueError(f"alpha must hold weights for each of {edges.size(1)} edges, got shape {tuple(alpha.shape)}")
    weights = weights if weights.dim() == 2 else weights.unsqueeze(1)
    if head is not None and not -weights.size(1) <= head < weights.size(1):
        raise ValueError(f"head must be an index of the {weights.size(1)} heads of this block, got {head}")
    weights = weights.mean(1) if head is None else weights[:, head]
    nodes = [node_index(row, column, graph, layout) for row, column in patches]
    ax = draw_image(image, ax)
    centers, source_centers = _patch_centers(image_size(ax), layout, source_layout)
    drawn_weights = []
    for i, node in enumerate(nodes):
        incoming = edges[1] == node
        if not incoming.any():
            continue
        order = weights[incoming].argsort()
        ends, sorted_weights = source_centers[edges[0, incoming][order]], weights[incoming][order]
        _draw_weighted_edges(ax, centers[node], ends, sorted_weights, colors[i % len(colors)])
        drawn_weights.append(sorted_weights)
    for i, patch in enumerate(patches):
        draw_star(ax, patch, patch_grid(layout), colors[i % len(colors)])
    if drawn_weights:
        ax.set_xlabel(f"{torch.cat(drawn_weights).min():#.2g} to {torch.cat(drawn_weights).max():#.2g}", fontsize=8)
    return ax


def _draw_weighted_edges(ax: Axes, center: Tensor, ends: Tensor, weights: Tensor, color: str) -> None:
    """Draw lines from a centre to its neighbours, and a dot on every neighbour, scaled by weight."""
    relative = (weights / weights.max().clamp(min=1e-12)).clamp(min=0).numpy()
    line_colors = [to_rgba(color, _MIN_OPACITY + (1 - _MIN_OPACITY) * value) for value in relative]
    segments = list(torch.stack([center.expand_as(ends), ends], dim=1).numpy())
    ax.add_collection(LineCollection(segments, colors="white", linewidths=_line_widths(weights) + 1.2, alpha=0.7))
    ax.add_collection(LineCollection(segments, colors=line_colors, linewidths=_line_widths(weights)))
    ax.scatter(ends[:, 0], ends[:, 1], s=6 + 50 * relative, c=line_colors, edgecolors="white", linewidths=0.5, zorder=3)


def _patch_centers(size: tuple[float, float], layout: Layout, source_layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Centres of destination and source patches in pixels."""
    centers = patch_centers(layout, size)
    return centers, centers if source_layout is None else patch_centers(source_layout, size)


def _opacity(count: int) -> float:
    """Opacity at which the image stays visible behind ``count`` lines."""
    return min(0.8, max(0.2, 500 / max(count, 1)))


def _line_widths(weights: Tensor) -> np.ndarray:
    relative = weights / weights.max().clamp(min=1e-12) if weights.numel() else weights
    return _MIN_LINE_WIDTH + (_MAX_LINE_WIDTH - _MIN_LINE_WIDTH) * relative.clamp(min=0).numpy()
