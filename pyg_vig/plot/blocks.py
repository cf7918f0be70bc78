"""Plots of the neighbours of patches of several images, in several blocks of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyg_vig.graph.layout import patch_at
from pyg_vig.models import VisionGNN, record_graphs
from pyg_vig.models.denormalize import denormalize
from pyg_vig.models.eval_mode import eval_mode
from pyg_vig.plot.neighbors import plot_neighbors
from pyg_vig.plot.style import create_panels, patch_grid

Point = tuple[float, float]


@torch.no_grad()
def plot_blocks(
    model: VisionGNN,
    images: Tensor,
    *,
    blocks: Sequence[int] = (0, -1),
    points: Sequence[Sequence[Point]] | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
    panel: float = 1.9,
    across: bool = False,
) -> Figure:
    """Plot the neighbours of a few patches of every image, in several blocks.

    Args:
        model: the network; it is run in evaluation mode.
        images: input of the network, ``(B, C, H, W)``. Images with one channel are shown inverted, dark on white.
        blocks: indices of the blocks; negative ones count from the end.
        points: for every image the positions of the centre patches, as fractions of height and width in [0, 1); by
            default a bright one and a dark one.
        labels: label of every image.
        title: title of the figure.
        panel: longer side of a panel in inches.
        across: one column per block and one row per image, instead of the other way round.

    Returns:
        The figure.

    Raises:
        ValueError: for a block that does not exist, points for a different number of images, or points outside them.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.plot import plot_blocks
        >>> figure = plot_blocks(pyg_vig.create_model("vig_nano"), torch.rand(2, 3, 32, 32), title="not trained")
    """
    with eval_mode(model), record_graphs(model) as graphs:
        model(images)
    check_blocks(blocks, len(graphs))
    points = points or [contrasting_points(image) for image in images]
    if len(points) != len(images):
        raise ValueError(f"points must hold a list for each of {len(images)} images, got {len(points)} lists")
    rows, columns = (len(images), len(blocks)) if across else (len(blocks), len(images))
    figure, axes = create_panels(rows, columns, panel, images[0])
    axes = axes.T if across else axes
    for row, block in zip(axes, blocks, strict=True):
        layout, source_layout = graphs.layouts[block], graphs.source_layouts[block]
        for column, ax in enumerate(row):
            patches = [patch_at(point, patch_grid(layout)) for point in points[column]]
            picture = _to_display(images[column], model)
            plot_neighbors(picture, graphs[block], layout, patches, source_layout=source_layout, graph=column, ax=ax)
        name = f"block {block % len(graphs) + 1} of {len(graphs)}"
        row[0].set_title(name, fontsize=10) if across else _write_row_label(row[0], name)
    for ax, label in zip(axes[0], labels or [], strict=False):
        _write_row_label(ax, label) if across else ax.set_title(label, fontsize=10)
    figure.suptitle(title, fontsize=12, wrap=True)
    caption = "star: a patch; frames in its colour: its neighbours in this block"
    figure.supxlabel(caption, fontsize=9, wrap=True)
    return figure


def check_blocks(blocks: Sequence[int], count: int) -> None:
    """Raise a ValueError if an index in ``blocks`` is out of range for ``count`` blocks."""
    if any(not -count <= block < count for block in blocks):
        raise ValueError(f"blocks must be indices from -{count} to {count - 1}, got {tuple(blocks)}")


def contrasting_points(image: Tensor, cells: int = 8) -> list[Point]:
    """Return a bright and a dark position away from the border.

    Args:
        image: ``(C, H, W)``.
        cells: cells per side of the coarse grid that is searched.
    """
    inner = F.adaptive_avg_pool2d(image.mean(0, keepdim=True), cells)[0, 1:-1, 1:-1]
    positions = [divmod(int(index), cells - 2) for index in (inner.argmax(), inner.argmin())]
    return [((row + 1.5) / cells, (column + 1.5) / cells) for row, column in positions]


def _to_display(image: Tensor, model: VisionGNN) -> Tensor:
    picture = denormalize(image, model)
    return 1 - picture if image.size(0) == 1 else picture


def _write_row_label(ax: Axes, text: str) -> None:
    ax.text(-0.05, 0.5, text, transform=ax.transAxes, rotation=90, va="center", ha="right", fontsize=10)
