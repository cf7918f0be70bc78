"""Plots of the attention of chosen patches, over the image (qualitative figure of AttentionViG, arXiv 2509.25570)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from pyg_vig.graph.layout import patch_at
from pyg_vig.models import VisionGNN, similarity_maps
from pyg_vig.models.denormalize import denormalize
from pyg_vig.plot.blocks import check_blocks, contrasting_points
from pyg_vig.plot.style import COLORS, create_panels, draw_grayscale, draw_star, draw_values

Point = tuple[float, float]


def plot_similarity(
    image: Tensor | ArrayLike,
    weights: Tensor,
    point: Point,
    *,
    color: str = COLORS[0],
    ax: Axes | None = None,
) -> Axes:
    """Draw a map of attention weights over the image in greyscale, with a star on the patch that they belong to.

    The colour scale spans the range of the map, which is written below.

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        weights: ``(H_i, W_i)``, from :func:`~pyg_vig.models.similarity_maps`.
        point: position of the patch, as fractions of height and width in [0, 1).
        color: colour of the star.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for a point outside the image.

    Example:
        >>> import torch
        >>> from pyg_vig.plot import plot_similarity
        >>> ax = plot_similarity(torch.rand(3, 32, 32), torch.rand(4, 4), (0.5, 0.5))
    """
    grid = weights.size(0), weights.size(1)
    patch = patch_at(point, grid)
    ax = draw_grayscale(image, ax)
    draw_values(ax, weights)
    draw_star(ax, patch, grid, color)
    ax.set_xlabel(f"{weights.min():#.2g} to {weights.max():#.2g}", fontsize=8)
    return ax


def plot_similarities(
    model: VisionGNN,
    image: Tensor,
    *,
    points: Sequence[Point] | None = None,
    blocks: Sequence[int] | None = None,
    title: str = "",
    panel: float = 1.9,
) -> Figure:
    """Plot the attention weights of a few patches of one image, with one row per patch and one column per block.

    Args:
        model: a network with ``conv="cross_attention"``; it is run in evaluation mode.
        image: input of the network, ``(C, H, W)``.
        points: positions of the patches, as fractions of height and width in [0, 1); by default a bright one and a
            dark one.
        blocks: indices of the Graphers; negative ones count from the end. All by default.
        title: title of the figure; it should say how the network was trained.
        panel: longer side of a panel in inches.

    Returns:
        The figure.

    Raises:
        ValueError: for a block that does not exist, and in the cases of :func:`~pyg_vig.models.similarity_maps`.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_similarities
        >>> model = pyg_vig.create_model("vig_nano", conv="cross_attention")
        >>> figure = plot_similarities(model, torch.rand(3, 32, 32), blocks=(0, -1), title="not trained")
    """
    points = contrasting_points(image) if points is None else points
    maps = similarity_maps(model, image, points)
    blocks = range(len(maps)) if blocks is None else blocks
    check_blocks(blocks, len(maps))
    figure, axes = create_panels(len(points), len(blocks), panel, image, below=0.2)
    for i, (row, point) in enumerate(zip(axes, points, strict=True)):
        for ax, block in zip(row, blocks, strict=True):
            weights = maps[block][i]
            plot_similarity(denormalize(image, model), weights, point, color=COLORS[i % len(COLORS)], ax=ax)
            if i == 0:
                size = f"{weights.size(0)} x {weights.size(1)}"
                ax.set_title(f"block {block % len(maps) + 1} of {len(maps)}\n{size} patches", fontsize=9)
    figure.suptitle(title, fontsize=12, wrap=True)
    caption = "star: a patch; yellow: patches with the largest weights; below: range of weights"
    figure.supxlabel(caption, fontsize=9, wrap=True)
    return figure
