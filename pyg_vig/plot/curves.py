"""Curves over the blocks of a network: edge length, purity, diversity."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pyg_vig.analysis import (
    chance_purity,
    diversity_by_block,
    edge_length_by_block,
    neighbor_purity,
    patch_labels,
    purity_by_block,
)
from pyg_vig.graph import grid_graph
from pyg_vig.models import VisionGNN
from pyg_vig.models.record import RecordedGraphs
from pyg_vig.plot.style import COLORS

_MARKERS = "osD^vPX"  # one more than colours, so that their combinations repeat late


def plot_by_block(curves: Mapping[str, Tensor], ylabel: str, *, first: int = 1, ax: Axes | None = None) -> Axes:
    """Draw curves over the blocks of a network: the mean over images, and a band between the quartiles.

    Args:
        curves: for every name, one value per block, ``(blocks,)``, or per block and image, ``(blocks, B)``. NaN values
            are ignored.
        ylabel: name of the values, with their unit.
        first: number of the first block; 0 if the curves start before the first block.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if ``curves`` is empty.

    Example:
        >>> import torch
        >>> from pyg_vig.plot import plot_by_block
        >>> ax = plot_by_block({"a network": torch.rand(12, 4)}, "a number")
    """
    if not curves:
        raise ValueError("curves is empty: pass at least one curve")
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for i, (name, values) in enumerate(curves.items()):
        color, marker = COLORS[i % len(COLORS)], _MARKERS[i % len(_MARKERS)]
        rows = values.detach().cpu().double().view(len(values), -1)
        blocks = np.arange(first, first + len(rows))
        ax.plot(blocks, rows.nanmean(1), color=color, marker=marker, markersize=4, label=name)
        if rows.size(1) > 1:
            band = rows.nanquantile(torch.tensor([0.25, 0.75]).double(), dim=1)
            ax.fill_between(blocks, *band, color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="block", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_edge_length(
    graphs: Mapping[str, RecordedGraphs], size: tuple[float, float], *, ax: Axes | None = None
) -> Axes:
    """Plot the mean edge length of every block in pixels, for one network or several.

    Args:
        graphs: for every network, by name, the graphs that :func:`pyg_vig.record_graphs` recorded in one forward pass.
        size: height and width of the images in pixels.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_edge_length
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(torch.rand(2, 3, 32, 32))
        >>> ax = plot_edge_length({"not trained": graphs}, (32, 32))
    """
    curves = {name: edge_length_by_block(recorded, size) for name, recorded in graphs.items()}
    ax = plot_by_block(curves, "mean edge length (pixels)", ax=ax)
    ax.set_ylim(bottom=0)
    return ax


def plot_purity(graphs: Mapping[str, RecordedGraphs], masks: Tensor, *, ax: Axes | None = None) -> Axes:
    """Plot the share of neighbours that have the same label as the patch, by block, with two baselines.

    The baselines are the purity of the eight patches around each patch, and of patches drawn at random from the same
    image, both on the grid of the last block.

    Args:
        graphs: for every network, by name, the graphs that :func:`pyg_vig.record_graphs` recorded in one forward pass.
        masks: labels of the pixels ``(B, H, W)``, -1 for pixels without a label.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if the number of masks differs from the number of images.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_purity
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(torch.rand(2, 3, 32, 32))
        >>> ax = plot_purity({"not trained": graphs}, torch.randint(3, (2, 32, 32)))
    """
    curves = {name: purity_by_block(recorded, masks) for name, recorded in graphs.items()}
    ax = plot_by_block(curves, "share of neighbours with the same label", ax=ax)
    grid = next(iter(graphs.values())).layouts[-1].require_grid("purity needs labels of patches")
    labels = [patch_labels(mask, grid).flatten() for mask in masks]
    adjacent = torch.stack([neighbor_purity(grid_graph(*grid), patches).nanmean() for patches in labels])
    chance = torch.tensor([chance_purity(patches) for patches in labels])
    ax.axhline(float(adjacent.nanmean()), color="0.45", linestyle="--", linewidth=1, label="the 8 adjacent patches")
    ax.axhline(float(chance.nanmean()), color="0.45", linestyle=":", linewidth=1, label="random patches")
    ax.set_ylim(0, 1)
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_diversity(
    models: Mapping[str, VisionGNN], images: Tensor, *, relative: bool = True, ax: Axes | None = None
) -> Axes:
    """Plot the diversity of the nodes before the first block and after every block (figure 3 of
    `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_).

    Args:
        models: the networks by name; those in training mode use the statistics of the batch.
        images: input of the networks, ``(B, C, H, W)``.
        relative: divide by the norm of the nodes, see :func:`~pyg_vig.analysis.diversity`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_diversity
        >>> ax = plot_diversity({"not trained": pyg_vig.create_model("vig_nano")}, torch.rand(2, 3, 32, 32))
    """
    curves = {name: diversity_by_block(model, images, relative=relative) for name, model in models.items()}
    unit = "as a share of the norm" if relative else r"$\|X - 1 x^T\|_{1,\infty}$"
    ax = plot_by_block(curves, f"node diversity ({unit})", first=0, ax=ax)
    ax.set_ylim(bottom=0)
    return ax
