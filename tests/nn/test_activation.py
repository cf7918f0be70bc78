from __future__ import annotations

import pytest
import torch
from torch import nn

from pyg_vig.nn import activation_resolver
from pyg_vig.nn.activation import _ACTIVATIONS, is_quasi_convex


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("gelu", torch.nn.functional.gelu),
        ("GELU", torch.nn.functional.gelu),
        ("hardswish", torch.nn.functional.hardswish),
        ("hswish", torch.nn.functional.hardswish),
        ("leaky_relu", lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
        ("leakyrelu", lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
        ("prelu", lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
        ("silu", torch.nn.functional.silu),
        ("none", lambda x: x),
        (None, lambda x: x),
    ],
)
def test_names(name, function):
    x = torch.linspace(-4, 4, 50)
    torch.testing.assert_close(activation_resolver(name)(x), function(x))


def test_module_is_used_as_it_is():
    module = nn.Softplus()
    assert activation_resolver(module) is module


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'rellu': choose one of .*relu"):
        activation_resolver("rellu")


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_maximum_over_an_interval_sits_at_an_end(name):
    """The fused edge convolution relies on this property."""
    activation = activation_resolver(name).double()
    assert is_quasi_convex(activation)
    values = activation(torch.linspace(-12, 12, 4001, dtype=torch.float64)).detach()
    falls = values[:-1] > values[1:] + 1e-12
    rises = values[1:] > values[:-1] + 1e-12
    assert rises.any()
    if falls.any():  # it decreases before it increases
        assert int(falls.nonzero().max()) < int(rises.nonzero().min())


@pytest.mark.parametrize("module", [nn.Softplus(), nn.Hardshrink(), nn.PReLU(4)])
def test_others_are_not_assumed_to_be_quasi_convex(module):
    assert not is_quasi_convex(module)
