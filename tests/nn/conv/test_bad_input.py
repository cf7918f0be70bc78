"""Convs on graphs and features that do not match, and on NaN."""

from __future__ import annotations

import pytest
import torch
from torch_geometric import EdgeIndex

from pyg_vig.graph import NeighborTable
from pyg_vig.nn import conv_resolver
from pyg_vig.nn.conv.resolver import CONVS

X = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
EDGES = torch.tensor([[0, 1, 2], [1, 2, 3]])


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        (torch.tensor([[0, 6], [1, 2]]), IndexError, "larger than 5"),
        (torch.tensor([[0, 1], [1, 6]]), (IndexError, ValueError), r"larger than 5|expected >= '7'"),
        (torch.tensor([[0, -1], [1, 2]]), IndexError, "negative indices"),
        (EDGES.float(), ValueError, "integer type"),
        (torch.zeros(3, 3, dtype=torch.int64), ValueError, "size '2' in the first dimension"),
        (torch.tensor([0, 1]), ValueError, "two-dimensional"),
    ],
    ids=["source", "destination", "negative", "dtype", "three rows", "vector"],
)
def test_edge_index(conv, edges, error, message):
    with pytest.raises(error, match=message):
        conv_resolver(conv, 8, 8).eval()(X, edges)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 6], [1, 2]], "source nodes from 0 to 5 .*, got 0 to 6"),
        ([[0, 1], [1, 6]], "destination nodes from 0 to 5 .*, got 1 to 6"),
        ([[-1, 1], [1, 2]], "source nodes from 0 to 5 .*, got -1 to 1"),
    ],
    ids=["source", "destination", "negative"],
)
def test_sorted_edge_index_is_not_followed_out_of_the_matrix(conv, edges, message):
    edges = EdgeIndex(edges, sort_order="col")
    with pytest.raises(ValueError, match=message):
        conv_resolver(conv, 8, 8).eval()(X, edges)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("bipartite", [True, False])
def test_last_nodes_that_a_sorted_edge_index_does_not_name_are_isolated(conv, bipartite):
    layer, edges = conv_resolver(conv, 8, 8, norm="batch"), EdgeIndex(EDGES[:, :2], sort_order="col")
    x = (X, X[:5]) if bipartite else X
    torch.testing.assert_close(layer.eval()(x, edges), layer(x, edges.as_tensor()))
    assert layer.train()(x, edges).shape == layer(x, edges.as_tensor()).shape
    layer(x[0] if bipartite else x, edges)  # the edge list is not bound to one number of nodes


@pytest.mark.parametrize("conv", CONVS)
def test_table_for_other_sources(conv):
    table = NeighborTable(torch.full((6, 2), 8), num_src=9)
    with pytest.raises((ValueError, RuntimeError), match=r"9 source nodes, got 6|must match"):
        conv_resolver(conv, 8, 8).eval()(X, table)


@pytest.mark.parametrize("conv", CONVS)
def test_wrong_width(conv):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        conv_resolver(conv, 8, 8).eval()(X[:, :7], EDGES)


@pytest.mark.parametrize("conv", CONVS)
def test_table_of_another_number_of_nodes(conv):
    with pytest.raises(RuntimeError, match=r"must match"):
        conv_resolver(conv, 8, 8).eval()(X, NeighborTable(torch.zeros(4, 2, dtype=torch.int64), num_src=6))


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("table", [True, False])
def test_nan_reaches_the_node_and_whoever_it_is_a_neighbour_of_alone(conv, table):
    graph = NeighborTable(torch.tensor([[1], [2], [3], [4], [5], [0]]), num_src=6)
    edges = graph if table else graph.edge_index.as_tensor()
    x = X.clone()
    x[2] = torch.nan
    with torch.no_grad():
        layer = conv_resolver(conv, 8, 8).eval()
        touched = layer(x, edges).isnan().any(1)
        clean = layer(X, edges)
        torch.testing.assert_close(layer(x, edges)[~touched], clean[~touched])
    assert touched.tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize("conv", CONVS)
def test_no_nodes_and_no_edges(conv):
    layer, none = conv_resolver(conv, 8, 4).eval(), torch.zeros(2, 0, dtype=torch.int64)
    assert layer(X[:0], none).shape == (0, 4)
    assert layer(X, none).isfinite().all()
