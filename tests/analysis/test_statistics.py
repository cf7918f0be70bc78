from __future__ import annotations

import pytest
import torch

from pyg_vig.analysis import graph_statistics, times_chosen, to_networkx
from pyg_vig.graph import Layout, grid_graph

nx = pytest.importorskip("networkx")


def test_a_star_and_a_pair() -> None:
    """Nodes 1 to 3 have neighbour 0, nodes 4 and 5 each other, and node 6 only itself."""
    edges = torch.tensor([[0, 0, 0, 5, 4, 6], [1, 2, 3, 4, 5, 6]])
    network = to_networkx(edges, Layout.from_grid(1, 1, 7), labels=torch.tensor([1, 1, 1, 2, 3, 3, -1]))
    statistics = graph_statistics(network, hubs=2)
    assert (statistics.nodes, statistics.edges) == (7, 5)
    assert statistics.in_degree == pytest.approx(5 / 7)
    assert statistics.hubs == [(0, 3), (4, 1)]
    assert statistics.components == [4, 2, 1]
    assert statistics.reciprocity == pytest.approx(2 / 5)
    assert statistics.homophily == pytest.approx(4 / 5)


def test_without_labels_there_is_no_homophily() -> None:
    statistics = graph_statistics(to_networkx(grid_graph(3, 3), Layout.from_grid(1, 3, 3)))
    assert statistics.homophily is None
    assert statistics.reciprocity == 1


def test_no_edges() -> None:
    network = to_networkx(torch.tensor([[0], [0]]), Layout.from_equal(1, 2))
    assert graph_statistics(network).components == [1, 1]
    assert graph_statistics(network).reciprocity == 0


def test_one_image_of_a_batch() -> None:
    layout = Layout.from_grid(2, 2, 2)
    edges = torch.tensor([[1, 5, 6], [0, 4, 4]])
    assert list(to_networkx(edges, layout, graph=1).edges) == [(1, 0), (2, 0)]
    assert to_networkx(edges, layout).nodes[3] == {"pos": (0.75, 0.75)}
    with pytest.raises(ValueError, match="graph must be from 0 to 1 in this batch, got 2"):
        to_networkx(edges, layout, graph=2)
    with pytest.raises(ValueError, match=r"one for each of 4 patches, got \(3,\)"):
        to_networkx(edges, layout, labels=torch.tensor([1, 2, 3]))


def test_ragged_graphs() -> None:
    layout = Layout.from_batch(torch.tensor([0, 0, 1, 1, 1]))
    network = to_networkx(torch.tensor([[0, 4], [1, 2]]), layout, graph=1)
    assert (list(network.nodes), list(network.edges)) == ([0, 1, 2], [(2, 0)])


def test_pooled_neighbours_are_nodes_of_their_own() -> None:
    layout, pooled = Layout.from_grid(2, 2, 2), Layout.from_grid(2, 1, 1)
    network = to_networkx(torch.tensor([[0, 1, 1], [0, 4, 5]]), layout, pooled, graph=1)
    assert list(network.edges) == [(("pooled", 0), 0), (("pooled", 0), 1)]
    assert network.nodes["pooled", 0]["pos"] == (0.5, 0.5)
    assert graph_statistics(network).in_degree == 0.5


def test_times_chosen() -> None:
    edges = torch.tensor([[0, 1, 1, 2], [0, 0, 2, 1]])
    assert times_chosen(edges, 4).tolist() == [0, 2, 1, 0]
    assert times_chosen(edges, 4, pooled=True).tolist() == [1, 2, 1, 0]


def test_nodes_may_be_tuples():
    grid = nx.grid_2d_graph(3, 3).to_directed()
    assert graph_statistics(grid).in_degree == 24 / 9
