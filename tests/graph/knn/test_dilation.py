"""Dilation on graphs of different sizes, and distances that cannot be ordered: NaN, infinity, overflow."""

from __future__ import annotations

import pytest
import torch

from pyg_vig.graph import KNNGraph, Layout, knn_graph

SIZES = [5, 30, 0, 12, 7]
BATCH = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))


@pytest.mark.parametrize("channels", [3, 16])  # tree search and matrix products
@pytest.mark.parametrize("loop", [True, False])
def test_a_batch_gives_what_its_members_give_one_by_one(channels, loop):
    x = torch.rand(sum(SIZES), channels, dtype=torch.float64)
    graph = KNNGraph(k=4, dilation=3, loop=loop)
    together = graph(x, Layout.from_batch(BATCH, len(SIZES))).index
    parts, first = [], 0
    for nodes in x.split(SIZES):
        if len(nodes):
            parts.append(graph(nodes).index + first)
        first += len(nodes)
    assert torch.equal(together, torch.cat(parts))


def test_dilation_is_lowered_in_small_graphs_only():
    x = torch.cat([torch.arange(5.0), torch.arange(30.0)]).unsqueeze(1)
    index = KNNGraph(k=3, dilation=2)(x, torch.tensor([0] * 5 + [1] * 30)).index
    assert index[0].tolist() == [0, 1, 2]
    assert index[5].tolist() == [5, 7, 9]


def test_an_empty_graph_lowers_nothing():
    layout = Layout.from_batch(torch.zeros(30, dtype=torch.int64), 3)
    x = torch.arange(30.0).unsqueeze(1)
    assert KNNGraph(k=3, dilation=2)(x, layout).index[0].tolist() == [0, 2, 4]


def test_two_node_sets_of_different_sizes():
    source, target = torch.rand(20, 16), torch.rand(9, 16)
    layouts = Layout.from_batch(torch.tensor([0] * 6 + [1] * 14)), Layout.from_batch(torch.tensor([0] * 5 + [1] * 4))
    graph = KNNGraph(k=3, dilation=4)
    index = graph((source, target), layouts).index
    assert torch.equal(index[:5], graph((source[:6], target[:5])).index)
    assert torch.equal(index[5:], graph((source[6:], target[5:])).index + 6)


def test_equal_sources_and_ragged_targets():
    source, target = torch.rand(12, 16), torch.rand(5, 16)
    layouts = Layout.from_equal(2, 6), Layout.from_batch(torch.tensor([0, 0, 0, 0, 1]))
    index = KNNGraph(k=2)((source, target), layouts).index
    assert torch.equal(index[:4], KNNGraph(k=2)((source[:6], target[:4])).index)
    assert torch.equal(index[4:], KNNGraph(k=2)((source[6:], target[4:])).index + 6)


@pytest.mark.parametrize("value", [torch.nan, -torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("cosine", [True, False])
def test_a_feature_that_is_not_finite_counts_as_zero(value, cosine):
    x = torch.rand(8, 16)
    x[3] = 0
    expected = knn_graph(x, k=3, cosine=cosine)
    x[3] = value
    assert torch.equal(knn_graph(x, k=3, cosine=cosine), expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])  # the square of 1e30 overflows float32
def test_no_edge_leaves_its_graph_whatever_the_features(value):
    x, batch = torch.rand(9, 16), torch.tensor([0] * 6 + [1] * 3)
    x[1], x[7] = value, value
    source, target = knn_graph(x, k=3, batch=batch)
    assert torch.equal(batch[source], batch[target])


def test_mixed_devices():
    x = torch.rand(8, 16)
    with pytest.raises(ValueError, match="x is on cpu but batch on meta"):
        KNNGraph(k=2)(x, Layout(1, 8, batch=torch.zeros(8, dtype=torch.int64, device="meta")))
    with pytest.raises(ValueError, match="source nodes are on cpu, destination nodes on meta"):
        knn_graph((x, x.to("meta")), k=2)
