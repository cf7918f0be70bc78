from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from benchmarks.dense import DenseConv, dense_knn, rolled_max
from benchmarks.parts import DENSE_CONVS
from pyg_vig.graph import Layout, SVGAGraph, knn_table, neighbor_max, to_map, to_nodes
from pyg_vig.nn import conv_resolver

BATCH, NODES, CHANNELS, K = 2, 16, 8, 4


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", DENSE_CONVS)
def test_dense_formulation_equals_the_conv(name: str, training: bool) -> None:
    conv = conv_resolver(name, CHANNELS, 2 * CHANNELS, heads=4, norm="batch", act="gelu").double().train(training)
    dense = DenseConv(copy.deepcopy(conv)).train(training)
    x = torch.randn(BATCH, NODES, CHANNELS, dtype=torch.float64)
    table = knn_table(x.flatten(0, 1), K, Layout.from_equal(BATCH, NODES), cosine=True)
    expected = dense(x.mT.unsqueeze(-1), (table.index % NODES).view(BATCH, NODES, K))
    out = conv(x.flatten(0, 1), table)
    assert_close(out.view(BATCH, NODES, -1).mT.unsqueeze(-1), expected)
    assert_close(conv.state_dict(), dense.conv.state_dict())  # including running statistics


def test_dense_knn_equals_the_table() -> None:
    x = torch.randn(BATCH, NODES, CHANNELS, dtype=torch.float64)
    table = knn_table(x.flatten(0, 1), K, Layout.from_equal(BATCH, NODES), cosine=True)
    assert_close(dense_knn(x, K), (table.index % NODES).view(BATCH, NODES, K))


def test_rolled_max_equals_svga() -> None:
    feature_map = torch.randn(BATCH, CHANNELS, 4, 4)
    rows, layout = to_nodes(feature_map)
    largest = neighbor_max(rows, SVGAGraph(step=2)(rows, layout))
    assert_close(rolled_max(feature_map, step=2), to_map(largest, layout))
