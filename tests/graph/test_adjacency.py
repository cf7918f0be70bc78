from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_geometric import EdgeIndex

from pyg_vig.graph import NeighborTable, as_edge_index, grid_graph
from pyg_vig.graph.adjacency import to_csr
from pyg_vig.nn import conv_resolver

TABLE = NeighborTable(torch.tensor([[4, 0], [2, 2], [1, 3]]), num_src=5)


def test_edge_index_is_valid_and_sorted_by_destination():
    edge_index = TABLE.edge_index
    edge_index.validate()
    assert edge_index.is_sorted_by_col
    assert edge_index.sparse_size() == (5, 3)
    assert edge_index.tolist() == [[4, 0, 2, 2, 1, 3], [0, 0, 1, 1, 2, 2]]


def test_csr_is_that_of_the_edge_index():
    ptr, src = TABLE.csr()
    (expected_ptr, expected_src), _ = TABLE.edge_index.get_csc()
    assert ptr.tolist() == expected_ptr.tolist()
    assert src.tolist() == expected_src.tolist()


def test_sizes_and_repr():
    assert (TABLE.num_src, TABLE.num_dst, TABLE.k) == (5, 3, 2)
    assert repr(TABLE) == "NeighborTable(num_src=5, num_dst=3, k=2)"


def test_as_edge_index():
    assert as_edge_index(TABLE).tolist() == TABLE.edge_index.tolist()
    assert as_edge_index(TABLE.index) is TABLE.index


@pytest.mark.parametrize(
    "index", [torch.tensor([0, 1]), torch.tensor([[0.0]]), torch.zeros(2, 2, dtype=torch.int32), torch.zeros(1, 1, 1)]
)
def test_index_of_another_shape_or_type(index):
    with pytest.raises(ValueError, match=rf"got {index.dtype} of shape \({', '.join(map(str, index.shape))}"):
        NeighborTable(index, 3)


def test_index_without_values():
    with FakeTensorMode():
        assert NeighborTable(torch.zeros(3, 2, dtype=torch.int64), 3).k == 2
    assert NeighborTable(TABLE.index.to("meta"), 5).num_dst == 3


@pytest.mark.parametrize("name", ["max_relative", "edge", "sage", "gin", "cross_attention"])
def test_graphs_first_used_in_inference_mode_serve_training(name: str) -> None:
    conv, x = conv_resolver(name, 8, 8), torch.rand(16, 8, requires_grad=True)
    edge_index = EdgeIndex(grid_graph(4, 4).as_tensor().clone(), sort_order="col", sparse_size=(16, 16))
    with torch.inference_mode():
        conv.eval()(x, edge_index)
    assert not any(part.is_inference() for part in to_csr(edge_index))
    conv.train()(x, edge_index).sum().backward()
    assert x.grad is not None
