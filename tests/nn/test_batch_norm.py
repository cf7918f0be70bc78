from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pyg_vig.native import native_kernels
from pyg_vig.nn import ConvNorm, LinearNorm
from pyg_vig.nn.batch_norm import can_fuse_batch_norm, fused_batch_norm


def make_layer(kind: str) -> tuple[nn.Module, torch.Tensor]:
    if kind == "linear":
        return LinearNorm(12, 20, groups=2), torch.randn(50, 12)
    return ConvNorm(5, 20, stride=2), torch.randn(4, 5, 9, 9)


def training_step(module: nn.Module, x: torch.Tensor, act: nn.Module | None) -> dict[str, torch.Tensor]:
    """Return output, gradients and running statistics of a training step."""
    x = x.clone().requires_grad_()
    out = module(x, act)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).cos()).sum().backward()
    gradients = {f"gradient of {name}": entry.grad for name, entry in module.named_parameters()}
    return {"out": out, "x": x.grad, **gradients, **dict(module.named_buffers())}


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("act", [None, nn.ReLU(), nn.GELU()])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_layers_equal_those_of_pytorch(kind, act, momentum):
    module, x = make_layer(kind)
    module.norm.momentum = momentum
    module.norm.weight.data.uniform_(0.5, 1.5)
    reference = copy.deepcopy(module).double()
    for _ in range(2):
        found, expected = training_step(module, x, act), training_step(reference, x.double(), act)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name].double(), expected[name].double(), rtol=1e-4, atol=2e-4, msg=name)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_bias_without_influence_has_a_gradient_of_zero(kind):
    module, x = make_layer(kind)
    bias = (module.linear if kind == "linear" else module.conv).bias
    bias.data.fill_(3.0)
    training_step(module, x, nn.GELU())
    assert torch.equal(bias.grad, torch.zeros_like(bias))


@pytest.mark.parametrize("act", [nn.Identity(), nn.ReLU(), nn.GELU()])
def test_derivatives_of_derivatives(act):
    norm = nn.BatchNorm1d(3)
    x = torch.randn(6, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(fused_batch_norm(x, norm, act, None).pow(3).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(slope.square().sum(), x)
    again = x.detach().double().requires_grad_()
    out = act(nn.functional.batch_norm(again, None, None, training=True))
    (slope,) = torch.autograd.grad(out.pow(3).sum(), again, create_graph=True)
    torch.testing.assert_close(
        found.double(), torch.autograd.grad(slope.square().sum(), again)[0], rtol=1e-3, atol=1e-3
    )


def test_what_it_leaves_to_pytorch():
    x, norm, act = torch.randn(4, 3), nn.BatchNorm1d(3), nn.GELU()
    assert can_fuse_batch_norm(norm, act, x)
    assert not can_fuse_batch_norm(norm, act, x.double())
    assert not can_fuse_batch_norm(copy.deepcopy(norm).eval(), act, x)
    assert not can_fuse_batch_norm(nn.SyncBatchNorm(3), act, x)
    assert not can_fuse_batch_norm(nn.BatchNorm1d(3, affine=False), act, x)
    assert not can_fuse_batch_norm(norm, nn.GELU(approximate="tanh"), x)
    assert not can_fuse_batch_norm(norm, nn.SiLU(), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_fuse_batch_norm(norm, act, x)
    with native_kernels(False):
        assert not can_fuse_batch_norm(norm, act, x)
    for module in (norm, act):
        handle = module.register_forward_hook(lambda *_: None)
        assert not can_fuse_batch_norm(norm, act, x)
        handle.remove()


def test_one_row_has_no_variance():
    with pytest.raises(ValueError, match="at least two rows"):
        LinearNorm(4, 4)(torch.randn(1, 4))


def test_tracking_that_is_switched_off_later():
    module = LinearNorm(3, 4)
    module.norm.track_running_stats = False
    module(torch.rand(5, 3))
    assert module.norm.num_batches_tracked == 0
    assert torch.equal(module.norm.running_mean, torch.zeros(4))


def test_without_running_statistics():
    module = LinearNorm(4, 4)
    module.norm = nn.BatchNorm1d(4, track_running_stats=False)
    out = module(torch.randn(30, 4))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("kernel", [True, False])
def test_compiled_equals_eager(kind, kernel):
    module, x = make_layer(kind)
    eager = training_step(copy.deepcopy(module), x, nn.GELU())
    compiled = copy.deepcopy(module)
    compiled.forward = torch.compile(compiled.forward, fullgraph=True, backend="aot_eager")
    with native_kernels(kernel):  # not available without a C compiler
        found = training_step(compiled, x, nn.GELU())
    for name, entry in found.items():
        torch.testing.assert_close(entry, eager[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # caused by opcheck itself
def test_operators_keep_their_promises():
    x, weight, bias = torch.randn(8, 3), torch.rand(3), torch.randn(3)
    torch.library.opcheck(
        torch.ops.pyg_vig.batch_norm, (x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), 1e-5, "gelu")
    )
