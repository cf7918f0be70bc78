from __future__ import annotations

import pytest
import torch

import pyg_vig
from pyg_vig.analysis import attention_weights
from pyg_vig.graph import as_edge_index


@pytest.mark.parametrize("heads", [1, 2])
def test_weights_and_edges_are_those_of_the_pass(heads: int) -> None:
    options = {"conv": "cross_attention", "conv_kwargs": {"heads": heads}, "depth": 3}
    model, images = pyg_vig.create_model("vig_nano", **options).train(), torch.rand(2, 3, 32, 32)
    blocks = attention_weights(model, images)
    assert model.training
    with pyg_vig.record_graphs(model.eval()) as graphs, torch.no_grad():
        model(images)
    for block, edges, name in zip(blocks, graphs, graphs.names, strict=True):
        assert torch.equal(as_edge_index(block.edge_index), edges)
        assert block.name == name
        assert block.layout.grid == (8, 8)
        assert block.alpha.shape == (edges.size(1), heads)
        assert ((block.alpha > 0) & (block.alpha <= 1)).all()
    loops = blocks[0].edge_index[0] == blocks[0].edge_index[1]
    assert loops.sum() == 128


@pytest.mark.parametrize("conv", ["GATConv", "GATv2Conv", "TransformerConv"])
def test_pygs_attention_sums_to_one(conv: str) -> None:
    blocks = attention_weights(pyg_vig.create_model("vig_nano", conv=conv, depth=2), torch.rand(1, 3, 32, 32))
    for block in blocks:
        total = torch.zeros(64, 1).index_add_(0, block.edge_index[1], block.alpha)
        torch.testing.assert_close(total, torch.ones(64, 1))


def test_pooled_neighbours_keep_their_own_layout() -> None:
    options = {"channels": (16, 16), "depths": (1, 1), "reductions": (2, 1), "image_size": 64, "k": 3}
    model = pyg_vig.create_model("pvig_ti", conv="cross_attention", **options)
    first, second = attention_weights(model, torch.rand(1, 3, 64, 64))
    assert (first.layout.grid, first.source_layout.grid) == ((16, 16), (8, 8))
    assert second.source_layout is second.layout


def test_a_network_without_weights() -> None:
    with pytest.raises(ValueError, match="build it with conv='cross_attention'"):
        attention_weights(pyg_vig.create_model("vig_nano"), torch.rand(1, 3, 32, 32))
