from __future__ import annotations

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.utils import coalesce, to_torch_csr_tensor

from pyg_vig.graph import GivenGraph, Layout, sorted_edges

EDGES = torch.tensor([[3, 0, 1, 0, 2], [1, 0, 1, 3, 0]])


def test_sorts_by_destination_and_keeps_the_order_of_neighbours():
    edge_index = sorted_edges(EDGES, 4)
    edge_index.validate()
    assert edge_index.tolist() == [[0, 2, 3, 1, 0], [0, 0, 1, 1, 3]]
    assert edge_index.sparse_size() == (4, 4)
    assert EDGES.tolist() == [[3, 0, 1, 0, 2], [1, 0, 1, 3, 0]]  # unchanged


def test_sorted_edge_index_is_used_as_it_is():
    edge_index = sorted_edges(EDGES, 4)
    assert sorted_edges(edge_index, 4) is edge_index


@pytest.mark.parametrize("sort_order", [None, "row"])
def test_other_edge_index_is_sorted(sort_order):
    edges = EDGES[:, EDGES[0].argsort(stable=True)] if sort_order == "row" else EDGES
    edge_index = sorted_edges(EdgeIndex(edges, sort_order=sort_order), 4)
    edge_index.validate()
    assert edge_index.is_sorted_by_col
    assert set(zip(*edge_index.tolist(), strict=True)) == set(zip(*EDGES.tolist(), strict=True))


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_a_sparse_adj_t_is_the_edges_that_it_holds(layout):
    edges = coalesce(EDGES)
    adj_t = to_torch_csr_tensor(edges.flip(0), size=(4, 4)).to_sparse(layout=layout)
    assert sorted_edges(adj_t, 4).tolist() == sorted_edges(edges, 4).tolist()


def test_no_edges():
    assert sorted_edges(torch.empty(2, 0, dtype=torch.int64), 3).shape == (2, 0)


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int64), r"shape \(2, E\), got torch.int64 of shape \(3, 2\)"),
        (torch.zeros(2, 2), "got torch.float32"),
        (torch.tensor([[0, 5], [0, 1]]), "nodes 0 to 5, but there are only nodes 0 to 3"),
        (torch.tensor([[0, -1], [0, 1]]), "nodes -1 to 1"),
    ],
)
def test_bad_edges(edge_index, message):
    with pytest.raises(ValueError, match=message):
        sorted_edges(edge_index, 4)


def test_sorted_edge_index_of_another_graph_is_refused():
    foreign = EdgeIndex(torch.tensor([[9], [9]]), sort_order="col", sparse_size=(10, 10))
    with pytest.raises(ValueError, match="nodes 9 to 9, but there are only nodes 0 to 3"):
        sorted_edges(foreign, 4)


class TestModule:
    def test_hands_on_the_edges(self):
        layout = Layout.from_equal(1, 4).with_edges(EDGES)
        assert GivenGraph()(torch.rand(4, 2), layout) is EDGES

    def test_needs_edges(self):
        with pytest.raises(ValueError, match="edge_index as well as nodes"):
            GivenGraph()(torch.rand(4, 2), Layout.from_equal(1, 4))
