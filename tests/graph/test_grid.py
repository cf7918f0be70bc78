from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from pyg_vig.graph import GridGraph, Layout, grid_graph, neighbor_max

sizes = st.integers(1, 5)


@given(sizes, sizes, st.sampled_from([4, 8]), st.booleans(), st.integers(1, 3))
def test_equals_brute_force(height, width, neighbors, loop, batch_size):
    edge_index = grid_graph(height, width, neighbors, loop=loop, batch_size=batch_size)
    expected = []
    for graph in range(batch_size):
        for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
            for p, q in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
                rows, columns = abs(i - p), abs(j - q)
                adjacent = rows + columns == 1 if neighbors == 4 else max(rows, columns) == 1
                if adjacent or (loop and rows == columns == 0):
                    first = graph * height * width
                    expected.append((first + p * width + q, first + i * width + j))
    assert list(zip(*edge_index.tolist(), strict=True)) == expected
    edge_index.validate()
    assert edge_index.is_sorted_by_col
    assert edge_index.sparse_size() == (batch_size * height * width,) * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 3), "got 0, 3, 1"), ((3, -1), "got 3, -1, 1"), ((2, 2, 6), "must be 4 or 8, got 6")],
)
def test_bad_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid_graph(*arguments)


class TestModule:
    def test_is_the_function(self):
        layout = Layout.from_grid(2, 3, 4)
        edge_index = GridGraph(4, loop=True)(torch.rand(24, 2), layout)
        assert torch.equal(edge_index, grid_graph(3, 4, 4, loop=True, batch_size=2))

    def test_built_in_inference_mode_first(self):
        x, layout = torch.rand(2 * 3 * 5, 2), Layout.from_grid(2, 3, 5)
        with torch.inference_mode():
            expected = neighbor_max(x, GridGraph(4)(x, layout))
            assert torch.equal(neighbor_max(x, grid_graph(3, 5, 4, batch_size=2)), expected)
        rows = x.requires_grad_()
        neighbor_max(rows, GridGraph(4)(rows, layout)).sum().backward()
        assert rows.grad is not None

    def test_needs_a_grid(self):
        with pytest.raises(ValueError, match="grid"):
            GridGraph()(torch.rand(4, 2), Layout.from_equal(1, 4))
        layouts = (Layout.from_grid(1, 1, 1), Layout.from_grid(1, 2, 2))
        with pytest.raises(ValueError, match="reduction=1"):
            GridGraph()((torch.rand(1, 2), torch.rand(4, 2)), layouts)

    def test_bad_neighbors(self):
        with pytest.raises(ValueError, match="got 5"):
            GridGraph(5)

    def test_repr(self):
        assert repr(GridGraph(4)) == "GridGraph(neighbors=4, loop=False)"
