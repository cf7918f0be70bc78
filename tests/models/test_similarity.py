from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.graph import as_edge_index
from pyg_vig.models import similarity_maps
from pyg_vig.nn import CrossAttentionConv
from tests.nn.conv.graphs import randomize

POINTS = [(0.5, 0.5), (0.99, 0.0)]


def hybrid(**overrides) -> nn.Module:
    options = {"channels": (16, 24), "depths": ((1, 1), (0, 2)), "steps": (2, 2), "num_classes": 5, "layer_scale": 0.5}
    return randomize_attention(pyg_vig.create_model("attention_vig_s", **options | overrides))


def randomize_attention(model: nn.Module) -> nn.Module:
    for conv in find_convs(model):
        randomize(conv.query), randomize(conv.key), nn.init.uniform_(conv.log_beta, -1, 1)
    return model.double().eval()


def find_convs(model: nn.Module) -> list[CrossAttentionConv]:
    return [module for module in model.modules() if isinstance(module, CrossAttentionConv)]


def conv_calls(model: nn.Module, image: Tensor) -> list[tuple]:
    """Return every conv of the network with the arguments of its call."""
    calls: list[tuple] = []
    handles = [
        conv.register_forward_pre_hook(lambda conv, args: calls.append((conv, *args))) for conv in find_convs(model)
    ]
    with torch.no_grad():
        model(image.unsqueeze(0))
    for handle in handles:
        handle.remove()
    return calls


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("affinity", ["exponential", "sigmoid", "cosine"])
def test_equals_the_weights_of_the_edges(affinity, heads):
    """For every edge of the chosen patch, the map holds the weight that the network uses."""
    model = hybrid(conv_kwargs={"affinity": affinity, "heads": heads})
    image = torch.randn(3, 32, 48).double()
    maps = similarity_maps(model, image, POINTS)
    assert [tuple(weights.shape) for weights in maps] == [(2, 8, 12), (2, 4, 6), (2, 4, 6)]
    for weights, (conv, x, graph) in zip(maps, conv_calls(model, image), strict=True):
        _, (edge_index, alpha) = conv(x, graph, return_attention_weights=True)
        source, target = as_edge_index(edge_index)
        height, width = weights.shape[1:]
        for turn, (y, x_) in enumerate(POINTS):
            edges = target == int(y * height) * width + int(x_ * width)
            assert edges.any()
            torch.testing.assert_close(weights[turn].flatten()[source[edges]], alpha[edges].mean(1))


def test_equals_the_equation():
    model, image = hybrid(), torch.randn(3, 32, 32).double()
    for weights, (conv, x, _) in zip(similarity_maps(model, image, POINTS), conv_calls(model, image), strict=True):
        height, width = weights.shape[1:]
        for turn, (y, x_) in enumerate(POINTS):
            query = conv.query(x[int(y * height) * width + int(x_ * width)])
            cosine = torch.cosine_similarity(query, conv.key(x), dim=-1)
            expected = torch.exp(conv.log_beta.exp() * (cosine - 1)).view(height, width)
            torch.testing.assert_close(weights[turn], expected, rtol=1e-5, atol=1e-6)


def test_softmax_is_taken_over_the_whole_map():
    model = hybrid(conv_kwargs={"affinity": "softmax"})
    for weights in similarity_maps(model, torch.randn(3, 32, 32).double(), POINTS):
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2).double())


def test_pooled_neighbours_have_their_own_grid():
    options = {"channels": (16, 16), "depths": (1, 1), "reductions": (2, 1), "image_size": 64, "k": 3}
    model = pyg_vig.create_model("pvig_ti", conv="cross_attention", **options)
    maps = similarity_maps(model, torch.rand(3, 64, 64), POINTS)
    assert [tuple(weights.shape) for weights in maps] == [(2, 8, 8), (2, 8, 8)]


def test_leaves_no_trace():
    model, image = hybrid().train(), torch.randn(3, 32, 32).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    maps = similarity_maps(model, image, POINTS)
    assert model.training
    assert not any(weights.requires_grad for weights in maps)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_errors():
    image = torch.rand(3, 32, 32)
    with pytest.raises(ValueError, match="conv='cross_attention'"):
        similarity_maps(pyg_vig.create_model("vig_nano", depth=2), image, POINTS)
    model = pyg_vig.create_model("vig_nano", depth=2, conv="cross_attention")
    for points in ([], [(1.0, 0.5)], [(0.5, -0.1)]):
        with pytest.raises(ValueError, match=r"fractions \(height, width\) in \[0, 1\)"):
            similarity_maps(model, image, points)
