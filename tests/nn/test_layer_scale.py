from __future__ import annotations

import torch
from torch import nn

from pyg_vig.nn import LayerScale


def test_every_channel_has_its_own_scale():
    layer, x = LayerScale(3), torch.randn(5, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
    assert torch.equal(layer(x), torch.stack([x[:, 0], -2 * x[:, 1], 0.5 * x[:, 2]], 1))


def test_starts_small_and_learns():
    layer, x = LayerScale(3), torch.randn(5, 3)
    torch.testing.assert_close(layer(x), 1e-5 * x)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0))


def test_reset_parameters_gives_the_initial_scale():
    layer = LayerScale(3, init=0.1)
    nn.init.ones_(layer.weight)
    layer.reset_parameters()
    assert layer.weight.tolist() == LayerScale(3, init=0.1).weight.tolist()
