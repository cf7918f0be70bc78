from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_vig.graph import Layout, to_map, to_nodes

BATCH = torch.tensor([0, 0, 0, 2, 2])  # graph 1 is empty


class TestConstruction:
    def test_grid(self):
        layout = Layout.from_grid(2, 3, 4)
        assert (layout.num_graphs, layout.num_nodes, layout.grid) == (2, 24, (3, 4))
        assert layout.is_equal
        assert layout.nodes_per_graph == 12

    def test_batch(self):
        layout = Layout.from_batch(BATCH, num_graphs=4)
        assert (layout.num_graphs, layout.num_nodes) == (4, 5)
        assert layout.sizes().tolist() == [3, 0, 2, 0]
        assert not layout.is_equal
        with pytest.raises(ValueError, match="ragged"):
            _ = layout.nodes_per_graph

    @pytest.mark.parametrize(
        ("batch", "num_graphs", "message"),
        [
            (torch.tensor([1, 0]), None, "sorted"),
            (torch.tensor([-1, 0]), None, "non-negative"),
            (torch.tensor([0.0]), None, "integer"),
            (torch.tensor([False, True]), None, "integer vector .* got torch.bool"),
            (torch.tensor([[0]]), None, "integer vector"),
            (torch.tensor([0, 3]), 3, "refers to graph 3, but num_graphs is 3"),
        ],
    )
    def test_bad_batch(self, batch, num_graphs, message):
        with pytest.raises(ValueError, match=message):
            Layout.from_batch(batch, num_graphs)

    def test_is_frozen_and_edges_make_a_new_one(self):
        layout, edges = Layout.from_equal(2, 3), torch.tensor([[0], [1]])
        with pytest.raises(AttributeError):
            layout.num_graphs = 3
        assert layout.with_edges(edges).edge_index is edges
        assert layout.edge_index is None


@pytest.mark.parametrize(
    "layout", [Layout.from_equal(3, 4), Layout.from_grid(2, 2, 3), Layout.from_batch(BATCH, 4), Layout.from_equal(2, 0)]
)
class TestGrouping:
    def test_batch_vector_and_sizes_agree(self, layout):
        counted = torch.bincount(layout.batch_vector(), minlength=layout.num_graphs)
        assert layout.sizes().tolist() == counted.tolist()
        assert layout.batch_vector().numel() == layout.num_nodes

    @pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
    def test_expand_gives_every_node_the_row_of_its_graph(self, layout, shape):
        rows = torch.randn(layout.num_graphs, *shape)
        assert torch.equal(layout.expand(rows), rows[layout.batch_vector()])

    @pytest.mark.parametrize("reduce", ["mean", "max", "sum"])
    def test_pool_equals_a_loop(self, layout, reduce):
        x = torch.randn(layout.num_nodes, 5, dtype=torch.float64) - 3  # negative, to detect a maximum of zero
        pooled = layout.pool(x, reduce)
        for graph in range(layout.num_graphs):
            rows = x[layout.batch_vector() == graph]
            if rows.numel() == 0:
                expected = torch.zeros(5, dtype=torch.float64)
            else:
                expected = rows.amax(0) if reduce == "max" else getattr(rows, reduce)(0)
            torch.testing.assert_close(pooled[graph], expected)

    def test_pool_names_the_reductions(self, layout):
        with pytest.raises(ValueError, match="'mean', 'max' or 'sum', got 'min'"):
            layout.pool(torch.randn(layout.num_nodes, 5), "min")


class TestPooledGrid:
    @pytest.mark.parametrize(("grid", "reduction"), [((4, 6), 2), ((5, 7), 2), ((9, 9), 4)])
    def test_shape_is_that_of_average_pooling(self, grid, reduction):
        pooled = torch.nn.functional.avg_pool2d(torch.rand(2, 1, *grid), reduction)
        assert Layout.from_grid(2, *grid).pooled(reduction).grid == tuple(pooled.shape[2:])

    def test_errors(self):
        with pytest.raises(ValueError, match="3 x 8 grid is smaller than the pooling window 4"):
            Layout.from_grid(1, 3, 8).pooled(4)
        with pytest.raises(ValueError, match=r"do not form a grid: .*reduction=2.* need one"):
            Layout.from_equal(1, 16).pooled(2)


class TestMaps:
    def test_round_trip_and_row_order(self):
        feature_map = torch.randn(2, 5, 3, 4)
        x, layout = to_nodes(feature_map)
        assert torch.equal(x[1 * 12 + 2 * 4 + 3], feature_map[1, :, 2, 3])
        assert torch.equal(to_map(x, layout), feature_map)

    def test_channels_last_memory_is_shared(self):
        feature_map = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last)
        x, layout = to_nodes(feature_map)
        assert x.data_ptr() == feature_map.data_ptr()
        assert x.is_contiguous()
        back = to_map(x, layout)
        assert back.data_ptr() == feature_map.data_ptr()
        assert back.is_contiguous(memory_format=torch.channels_last)

    def test_no_grid(self):
        with pytest.raises(ValueError, match="do not form a grid"):
            to_map(torch.rand(4, 3), Layout.from_equal(1, 4))

    @pytest.mark.parametrize("shape", [(25, 3), (2, 12, 3), (24,)])
    def test_rows_that_are_not_those_of_the_grid(self, shape):
        with pytest.raises(ValueError, match=rf"2 x 3 x 4 = 24 nodes, got \({', '.join(map(str, shape))},?\)"):
            to_map(torch.rand(shape), Layout.from_grid(2, 3, 4))

    def test_single_map(self):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\), got shape \(3, 4, 4\): use unsqueeze\(0\)"):
            to_nodes(torch.rand(3, 4, 4))


def test_layout_of_image_graphs():
    graph = Data(x=torch.rand(6, 3), grid=torch.tensor([[2, 3]]))
    assert Layout.from_data(graph).grid == (2, 3)
    layout = Layout.from_data(Batch.from_data_list([graph, graph]))
    assert (layout.num_graphs, layout.num_nodes, layout.grid) == (2, 12, (2, 3))
    with pytest.raises(ValueError, match="made by ImageToGraph"):
        Layout.from_data(Data(x=torch.rand(6, 3)))
    other = Data(x=torch.rand(6, 3), grid=torch.tensor([[3, 2]]))
    with pytest.raises(ValueError, match="process them one by one"):
        Layout.from_data(Batch.from_data_list([graph, other]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_ragged_graphs_in_half_precision(dtype: torch.dtype) -> None:
    layout = Layout.from_batch(torch.tensor([0] * 20_000 + [1] * 3))
    x = torch.full((20_003, 2), 5.0, dtype=dtype)
    assert torch.equal(layout.pool(x), torch.full((2, 2), 5.0, dtype=dtype))
