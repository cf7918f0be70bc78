from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import pyg_vig
from pyg_vig.analysis import attention_weights
from pyg_vig.graph import Layout, grid_graph
from pyg_vig.plot import COLORS, neighbors_of, plot_attention, plot_edges

IMAGE = torch.rand(3, 20, 30)


def test_every_edge_is_a_line_coloured_by_its_length() -> None:
    layout = Layout.from_grid(2, 2, 3)
    edges = torch.tensor([[5, 0, 6, 11, 6], [0, 1, 6, 6, 7]])  # two edges per image and a loop
    ax = plot_edges(IMAGE, edges, layout)
    (lines,) = ax.collections
    drawn = [segment.tolist() for segment in lines.get_segments()]
    assert drawn == [[[25, 15], [5, 5]], [[5, 5], [15, 5]]]  # shorter edges on top
    np.testing.assert_allclose(lines.get_array(), [500**0.5, 10])
    assert len(plot_edges(IMAGE, edges, layout, graph=1).collections[0].get_segments()) == 2


def test_lines_are_as_thick_as_they_are_heavy() -> None:
    edges = grid_graph(2, 3, neighbors=4)
    weights = torch.rand(edges.size(1))
    (lines,) = plot_edges(IMAGE, edges, Layout.from_grid(1, 2, 3), weights=weights).collections
    np.testing.assert_allclose(lines.get_array(), weights.sort().values)
    widths = lines.get_linewidths()
    assert list(widths) == sorted(widths)
    assert widths[-1] == pytest.approx(2.4)


def test_edges_of_pooled_neighbours_begin_at_their_centres() -> None:
    layout, pooled = Layout.from_grid(1, 2, 3), Layout.from_grid(1, 1, 1)
    (lines,) = plot_edges(IMAGE, torch.tensor([[0], [0]]), layout, source_layout=pooled).collections
    assert lines.get_segments()[0].tolist() == [[15, 10], [5, 5]]


def test_attention_goes_from_the_star_to_its_neighbours() -> None:
    model = pyg_vig.create_model("vig_nano", conv="cross_attention", conv_kwargs={"heads": 2}, depth=2)
    image = torch.rand(1, 3, 32, 32)
    block = attention_weights(model, image)[0]
    _, ax = plt.subplots()
    drawn = plot_attention(image[0], block.edge_index, block.alpha, block.layout, [(1, 2), (6, 5)], head=1, ax=ax)
    assert drawn is ax
    rays = [lines for lines in ax.collections if hasattr(lines, "get_segments")][1::2]  # each over a white line
    for lines, (row, column), color in zip(rays, [(1, 2), (6, 5)], COLORS, strict=False):
        assert all(segment[0].tolist() == [4 * column + 2, 4 * row + 2] for segment in lines.get_segments())
        ends = {(int(y // 4), int(x // 4)) for x, y in (segment[1] for segment in lines.get_segments())}
        assert ends == {divmod(node, 8) for node in neighbors_of(block.edge_index, row * 8 + column)}
        assert to_hex(lines.get_colors()[-1]) == color.lower()
        weights = block.alpha[block.edge_index[1] == row * 8 + column, 1]
        shares = (weights.sort().values / weights.max()).numpy()
        np.testing.assert_allclose(lines.get_linewidths(), 0.3 + 2.1 * shares, rtol=1e-5)
    assert [line.get_marker() for line in ax.lines] == ["*", "*"]


def test_a_patch_without_neighbours_has_a_star_only() -> None:
    layout, edges = Layout.from_grid(1, 2, 3), torch.tensor([[0], [1]])
    ax = plot_attention(IMAGE, edges, torch.tensor([0.5]), layout, [(1, 1)])
    assert (len(ax.lines), len(ax.collections), ax.get_xlabel()) == (1, 0, "")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_any_precision(dtype: torch.dtype) -> None:
    layout, edges = Layout.from_grid(1, 2, 3), torch.tensor([[0, 2], [1, 1]])
    weights = torch.tensor([0.25, 0.5], dtype=dtype)
    assert plot_edges(IMAGE, edges, layout, weights=weights).collections[0].get_array().tolist() == [0.25, 0.5]
    assert plot_attention(IMAGE, edges, weights, layout, [(0, 1)]).get_xlabel() == "0.25 to 0.50"


def test_errors() -> None:
    layout, edges = Layout.from_grid(1, 2, 3), torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match=r"one number for each of 1 edges, got shape \(2,\)"):
        plot_edges(IMAGE, edges, layout, weights=torch.rand(2))
    with pytest.raises(ValueError, match=r"patch must lie in the grid of . x . patches, got \(2, 0\)"):
        plot_attention(IMAGE, edges, torch.rand(1), layout, [(2, 0)])
    with pytest.raises(ValueError, match=r"weights for each of 1 edges, got shape \(3, 2\)"):
        plot_attention(IMAGE, edges, torch.rand(3, 2), layout, [(0, 0)])
    with pytest.raises(ValueError, match=r"head must be an index of the 2 heads of this block, got 2"):
        plot_attention(IMAGE, edges, torch.rand(1, 2), layout, [(0, 0)], head=2)
    with pytest.raises(ValueError, match=r"graph must be from 0 to 0 in this batch, got 1"):
        plot_edges(IMAGE, edges, layout, graph=1)
    with pytest.raises(ValueError, match="do not form a grid"):
        plot_edges(IMAGE, edges, Layout.from_equal(1, 6))
