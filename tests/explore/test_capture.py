from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pyg_vig
from pyg_vig.explore import capture_graphs
from pyg_vig.models import similarity_maps
from pyg_vig.nn import CrossAttentionConv, Grapher
from tests.explore.networks import NETWORKS, make_image, network, recorded_neighbors


@pytest.mark.parametrize("kind", NETWORKS)
def test_neighbours_are_those_recorded_in_their_order(kind):
    model, image = network(kind), make_image(kind)
    expected = recorded_neighbors(model, image)
    blocks = capture_graphs(model, image)
    assert len(blocks) == len(expected) >= 2
    for block, neighbors in zip(blocks, expected, strict=True):
        assert len(block.pointers) == len(neighbors) + 1 == block.grid[0] * block.grid[1] + 1
        assert {patch: block.neighbors_of(patch).tolist() for patch in neighbors} == neighbors


def test_grids_of_pooled_neighbours():
    blocks = capture_graphs(network("pooled"), make_image("pooled"))
    assert [block.grid for block in blocks] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    assert [block.source_grid for block in blocks] == [(8, 8), (8, 8), (8, 8), (4, 4)]


def test_similarity_is_the_cosine_of_what_the_graph_is_built_from():
    model, image = network("isotropic"), make_image("isotropic")
    seen = []
    for module in model.modules():
        if isinstance(module, Grapher):
            module.graph.register_forward_pre_hook(lambda builder, args: seen.append(args[0]))
    blocks = capture_graphs(model, image)
    for block, x in zip(blocks, seen, strict=True):
        assert not block.attention
        for patch in (0, 17, 95):
            neighbors = block.neighbors_of(patch)
            cosines = torch.cosine_similarity(x[patch], x[neighbors])
            weights = block.weights[block.pointers[patch] : block.pointers[patch + 1]]
            np.testing.assert_allclose(weights, cosines.numpy(), atol=1e-5)


def test_attention_is_what_the_conv_multiplies_by():
    """If all values are ones, the conv's weighted sum equals the sum of the captured weights."""
    model, image = network("attention"), make_image("attention")
    conv = next(module for module in model.modules() if isinstance(module, CrossAttentionConv))
    calls = []
    conv.register_forward_pre_hook(lambda conv, args: calls.append(args))
    block = capture_graphs(model, image)[0]
    assert block.attention
    assert block.weights.min() > 0 and block.weights.std() > 1e-3
    nn.init.zeros_(conv.value.weight), nn.init.ones_(conv.value.bias)
    with torch.no_grad():
        total, _ = conv._attend(calls[0][1], *conv._project((calls[0][0],) * 2), need_weights=False)
    sums = np.add.reduceat(block.weights, block.pointers[:-1])
    np.testing.assert_allclose(sums, total.mean((1, 2)).numpy(), rtol=1e-4)


def test_similarity_of_query_and_key_orders_patches_as_similarity_maps_do():
    model = pyg_vig.create_model("vig_nano", depth=2, conv="cross_attention").eval()
    image, point = torch.rand(3, 32, 32), (0.4, 0.7)
    blocks, maps = capture_graphs(model, image), similarity_maps(model, image, [point])
    for block, weights in zip(blocks, maps, strict=True):
        cosines = block.queries[int(0.4 * 8) * 8 + int(0.7 * 8)] @ block.keys.T
        torch.testing.assert_close((cosines - 1).exp(), weights.flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conv", ["GATConv", "GATv2Conv", "TransformerConv"])
def test_attention_of_pygs_convs(conv):
    """PyG returns the edges in a different order, including the self-loops that it adds."""
    model = pyg_vig.create_model("vig_nano", depth=1, conv=conv, k=5).eval()
    block = capture_graphs(model, torch.rand(3, 32, 32))[0]
    assert block.attention
    sums = np.add.reduceat(block.weights, block.pointers[:-1])
    np.testing.assert_allclose(sums, 1, rtol=1e-4)  # self-loops are in the graph already


def test_leaves_no_trace():
    model, image = network("attention").train(), make_image("attention")
    model.stem.eval()  # modules may be in different modes
    before = {key: value.clone() for key, value in model.state_dict().items()}
    capture_graphs(model, image)
    assert model.training and not model.stem.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_errors():
    with pytest.raises(ValueError, match=r"one image \(C, H, W\), got shape \(1, 3, 32, 32\)"):
        capture_graphs(network("isotropic"), torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="no Grapher"):
        capture_graphs(nn.Linear(1, 1), torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match=r"features must be finite"):
        capture_graphs(network("isotropic"), torch.full((3, 32, 32), torch.nan))
