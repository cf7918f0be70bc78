from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import pyg_vig
from pyg_vig.benchmark import record_products
from pyg_vig.benchmark.networks import block_parts


def test_records_products_and_nothing_else() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    images = torch.randn(2, 3, 4, 4)
    products = record_products(lambda: network(images), network.parameters())
    assert len(products.calls) == 2
    assert products.flops == 2 * 2 * (16 * 8 * 3 * 9 + 8 * 16 * 5)


def test_training_step_has_three_products_a_layer() -> None:
    layer = nn.Linear(4, 6)
    x = torch.randn(10, 4, requires_grad=True)
    products = record_products(lambda: layer(x).sum().backward(), layer.parameters())
    assert products.flops == 3 * 2 * 10 * 4 * 6


def test_products_run_again_without_touching_the_network() -> None:
    layer = nn.Linear(4, 6)
    before = layer.weight.detach().clone()
    products = record_products(lambda: layer(torch.randn(10, 4)).sum().backward(), layer.parameters())
    layer.weight.grad = None
    products()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.weight, before)


def test_graph_search_does_not_count() -> None:
    model = pyg_vig.create_model("vig_nano").fuse()
    images = torch.randn(1, 3, 32, 32)
    everything = record_products(lambda: model(images), model.parameters())
    layers = record_products(lambda: model(images), model.parameters(), [builder for builder, _ in block_parts(model)])
    nodes, channels, depth = 64, model.config.channels, model.config.depth
    assert everything.flops - layers.flops == 2 * depth * nodes * nodes * channels


def test_weights_are_not_shared_between_layers() -> None:
    layers = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    products = record_products(lambda: F.relu(layers(torch.randn(2, 4))), layers.parameters())
    activations, weights = zip(*(args for _, args, _ in products.calls), strict=True)
    assert len({weight.data_ptr() for weight in weights}) == 3
    assert len({activation.data_ptr() for activation in activations}) == 1
