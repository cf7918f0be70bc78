from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import pyg_vig
from pyg_vig.graph import Layout
from pyg_vig.plot import COLORS, neighbors_of, plot_neighbors
from pyg_vig.plot.style import to_picture


def framed_patches(ax: Axes, color: str, side: float) -> set[tuple[int, int]]:
    """Return row and column of the patches that have a frame of this colour in the plot."""
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    found = [patch.get_center() for patch in frames if to_hex(patch.get_edgecolor()) == color.lower()]
    return {(int(y // side), int(x // side)) for x, y in found}


@pytest.mark.parametrize("graph", [0, 1])
def test_exactly_the_neighbours_are_framed(graph: int) -> None:
    model, images = pyg_vig.create_model("vig_nano").eval(), torch.rand(2, 3, 32, 32)
    with pyg_vig.record_graphs(model) as graphs:
        model(images)
    patches = [(1, 2), (6, 5)]
    ax = plot_neighbors(images[graph], graphs[-1], graphs.layouts[-1], patches, graph=graph)
    for (row, column), color in zip(patches, COLORS, strict=False):
        nodes = neighbors_of(graphs[-1], graph * 64 + row * 8 + column)
        assert len(nodes) == 12
        assert framed_patches(ax, color, 4) == {divmod(node - graph * 64, 8) for node in nodes}


def test_pooled_neighbours_are_framed_on_their_own_grid() -> None:
    options = {"channels": (16, 16), "depths": (1, 1), "reductions": (2, 1), "image_size": 64, "k": 3}
    model, images = pyg_vig.create_model("pvig_ti", **options).eval(), torch.rand(2, 3, 64, 64)
    with pyg_vig.record_graphs(model) as graphs:
        model(images)
    layout, source_layout = graphs.layouts[0], graphs.source_layouts[0]
    assert (layout.grid, source_layout.grid) == ((16, 16), (8, 8))
    ax = plot_neighbors(images[1], graphs[0], layout, [(3, 4)], source_layout=source_layout, graph=1)
    nodes = neighbors_of(graphs[0], 256 + 3 * 16 + 4)
    assert framed_patches(ax, COLORS[0], 8) == {divmod(node - 64, 8) for node in nodes}
    (star,) = ax.lines
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (4.5 * 4, 3.5 * 4)


def test_shared_neighbours_show_both_colours() -> None:
    edges = torch.tensor([[2, 2], [0, 1]])
    ax = plot_neighbors(np.zeros((8, 8)), edges, Layout.from_grid(1, 2, 2), [(0, 0), (0, 1)])
    outer, inner = (patch for patch in ax.patches if not patch.get_fill())
    assert outer.get_center() == pytest.approx(inner.get_center())
    assert inner.get_width() < outer.get_width() < 4
    assert to_hex(outer.get_edgecolor()) != to_hex(inner.get_edgecolor())


def test_it_draws_into_given_axes() -> None:
    _, ax = plt.subplots()
    given = plot_neighbors(torch.rand(3, 4, 4), torch.tensor([[0], [0]]), Layout.from_grid(1, 2, 2), [(0, 0)], ax=ax)
    assert given is ax


def test_errors() -> None:
    edges, layout = torch.tensor([[0], [0]]), Layout.from_grid(1, 2, 3)
    with pytest.raises(ValueError, match=r"patch must lie in the grid of 2 x 3 patches, got \(2, 0\)"):
        plot_neighbors(torch.rand(3, 4, 4), edges, layout, [(2, 0)])
    with pytest.raises(ValueError, match="graph must be from 0 to 0 in this batch, got 1"):
        plot_neighbors(torch.rand(3, 4, 4), edges, layout, [(0, 0)], graph=1)
    with pytest.raises(ValueError, match="do not form a grid"):
        plot_neighbors(torch.rand(3, 4, 4), edges, Layout.from_equal(1, 6), [(0, 0)])
    with pytest.raises(ValueError, match=r"1 or 3 channels, got an array of shape \(4, 4, 2\)"):
        plot_neighbors(torch.rand(2, 4, 4), edges, layout, [(0, 0)])
    with pytest.raises(ValueError, match=r"expected an image of dtype uint8, or floating point in \[0, 1\], got int64"):
        plot_neighbors(torch.full((3, 4, 4), 128), edges, layout, [(0, 0)])


@pytest.mark.parametrize(
    "image",
    [
        torch.full((3, 4, 6), 0.5),
        torch.full((1, 4, 6), 0.5),
        np.full((4, 6), 0.5),
        np.full((4, 6, 3), 0.5),
        torch.full((4, 6), 0.5),
        np.full((4, 6, 3), 128, np.uint8),
        torch.full((3, 4, 6), 0.5, dtype=torch.bfloat16),
    ],
)
def test_images_of_all_kinds_become_pictures(image: object) -> None:
    picture = to_picture(image)
    assert picture.shape == (4, 6, 3)
    assert picture == pytest.approx(0.5, abs=0.01)
