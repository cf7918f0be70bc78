from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from pyg_vig.nn import FFN, LinearNorm
from pyg_vig.nn.packed_linear import PackedLinear, pack


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = LinearNorm(24, 40)
    layer(torch.randn(50, 24))
    return layer.eval()


@pytest.mark.parametrize("act", [nn.GELU(), nn.ReLU(), nn.Identity(), None])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_gives_what_the_parts_give(layer, act, rows):
    x = torch.randn(rows, 24)
    expected = layer(x) if act is None else act(layer(x))
    packed, rest = pack(layer, act)
    assert isinstance(packed, PackedLinear) and isinstance(rest, nn.Identity)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed(x.clone().requires_grad_()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", [nn.GELU("tanh"), nn.SiLU(), nn.PReLU()])
def test_other_activations_stay_apart(layer, act):
    linear, rest = pack(layer, act)
    assert rest is act and linear is layer and isinstance(layer.norm, nn.Identity)


def test_groups_and_other_modules_stay_as_they_are():
    grouped, identity = LinearNorm(8, 8, groups=2).eval(), nn.Identity()
    assert pack(grouped)[0] is grouped
    assert pack(identity)[0] is identity


def test_gradients_flow_to_the_input(layer):
    packed, _ = pack(copy.deepcopy(layer), nn.GELU())
    x = torch.randn(5, 24, requires_grad=True)
    (expected,) = torch.autograd.grad(nn.GELU()(layer(x)).sum(), x)
    torch.testing.assert_close(torch.autograd.grad(packed(x).sum(), x)[0], expected)


def test_copies_moves_and_changed_weights(layer):
    packed, _ = pack(layer, nn.GELU())
    x = torch.randn(9, 24)
    with torch.no_grad():
        expected = packed(x)
        for twin in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
            assert torch.equal(twin(x), expected)
        torch.testing.assert_close(copy.deepcopy(packed).double()(x.double()).float(), expected)
        packed.weight.zero_()
        torch.testing.assert_close(packed(x), nn.functional.gelu(packed.bias).expand(9, -1))


def test_no_rows(layer):
    assert pack(layer)[0](torch.empty(0, 24)).shape == (0, 40)


def test_ffn_prepared_for_inference():
    torch.manual_seed(0)
    ffn = FFN(16)
    ffn(torch.randn(50, 16))
    x = torch.randn(20, 16)
    expected = ffn.eval()(x).detach()
    ffn.fold_norm()
    with torch.no_grad():
        torch.testing.assert_close(ffn(x), expected, rtol=1e-5, atol=1e-5)
