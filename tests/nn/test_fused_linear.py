from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from pyg_vig import native
from pyg_vig.native import native_kernels
from pyg_vig.nn import LinearNorm
from pyg_vig.nn.fused_linear import can_use_linear_kernel, fused_conv2d, fused_linear

ACTIVATIONS = [
    None,
    nn.Identity(),
    nn.ReLU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Hardswish(),
    nn.PReLU(),
    nn.Mish(),
]


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=generator) for shape in ((30, 24), (40, 24), (40,)))


@pytest.mark.parametrize("act", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_is_the_linear_layer_and_its_activation(parts, act, bias, tracked):
    x, weight, offset = parts
    offset = offset if bias else None
    with torch.set_grad_enabled(tracked):
        out = fused_linear(x.requires_grad_(tracked), weight, offset, act)
        expected = F.linear(x, weight, offset)
        torch.testing.assert_close(out, expected if act is None else act(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wanted", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_gradients_of_first_and_second_order(parts, wanted):
    x, weight, bias = (part.requires_grad_(bool(flag)) for part, flag in zip(parts, wanted, strict=True))
    leaves = [part for part in (x, weight, bias) if part.requires_grad]

    def gradients(function):
        first = torch.autograd.grad(function(x, weight, bias).pow(3).sum() / 1e3, leaves, create_graph=True)
        return *first, *torch.autograd.grad(sum(part.square().sum() for part in first) / 1e3, leaves)

    assert can_use_linear_kernel((x,), weight)
    for ours, torchs in zip(gradients(fused_linear), gradients(F.linear), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-3, atol=1e-3)


def test_a_hook_on_the_activation_sees_its_output(parts):
    act, seen = nn.GELU(), []
    act.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        assert fused_linear(*parts, act) is seen[0]


def test_other_numbers_and_other_modes_are_left_to_torch(parts):
    x, weight, _ = parts
    assert can_use_linear_kernel((x,), weight)
    assert can_use_linear_kernel((x, x), weight[:, :12], groups=4)
    assert not can_use_linear_kernel((x[:, :10], x[:, :10]), weight[:, :5], groups=4)  # groups of odd width
    assert not can_use_linear_kernel((x.double(),), weight.double())
    assert not can_use_linear_kernel((x,), weight.double())
    assert not can_use_linear_kernel((x, x.double()), weight[:, :12], groups=4)
    assert not can_use_linear_kernel((x.to("meta"),), weight.to("meta"))
    assert not can_use_linear_kernel((x[:0],), weight)
    assert not can_use_linear_kernel((x[0],), weight)
    assert not can_use_linear_kernel((x[:, 1:],), weight)
    with torch.autocast("cpu"):
        assert not can_use_linear_kernel((x,), weight)
    with FlopCounterMode(display=False):
        assert not can_use_linear_kernel((x,), weight)
    with native_kernels(False):
        assert not can_use_linear_kernel((x,), weight)


@pytest.mark.parametrize("act", [nn.GELU(), nn.PReLU()], ids=str)
@pytest.mark.parametrize(
    ("channels", "groups", "pair"),
    [(12, 1, False), (12, 4, False), (12, 1, True), (12, 2, True), (12, 4, True), (14, 4, True)],  # the last: odd width
)
@pytest.mark.parametrize("around", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_groups_pairs_and_what_stands_around(channels, groups, pair, around, act, tracked):
    """Compare with one product per group, on interleaved rows."""
    x, y = torch.randn(2, 37, channels, requires_grad=tracked).unbind() if pair else (torch.randn(37, channels), None)
    x = x.requires_grad_(tracked)
    weight = torch.randn(28, channels * (2 if pair else 1) // groups, requires_grad=tracked)
    bias, scale = (torch.randn(28, requires_grad=tracked) for _ in range(2)) if around else (None, None)
    shortcut = torch.randn(37, 28) if around else None
    rows = x if y is None else torch.stack([x, y], dim=-1).flatten(1)
    parts = zip(rows.chunk(groups, 1), weight.chunk(groups), strict=True)
    expected = torch.cat([F.linear(*part) for part in parts], dim=1)
    expected = act(expected * scale + bias) + shortcut if around else act(expected)
    out = fused_linear(x if y is None else (x, y), weight, bias, act, groups=groups, scale=scale, shortcut=shortcut)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-4)
    if tracked:
        leaves = [part for part in (x, y, weight, bias, scale, shortcut) if part is not None and part.requires_grad]
        first, true = (torch.autograd.grad(part.pow(3).sum(), leaves, create_graph=True) for part in (out, expected))
        second = (torch.autograd.grad(sum(part.square().sum() for part in parts), leaves) for parts in (first, true))
        for ours, torchs in zip((*first, *next(second)), (*true, *next(second)), strict=True):
            torch.testing.assert_close(ours, torchs, rtol=1e-3, atol=1e-3 * float(torchs.detach().abs().max()))


def test_strided_rows_and_weights():
    wide, weight = torch.randn(9, 40), torch.randn(24, 60)
    for x in (wide[:, 5:17], wide[:, ::2][:, :12], wide.t()[:, :9].t()[:, :12]):
        torch.testing.assert_close(fused_linear(x, weight[::2, :12]), F.linear(x, weight[::2, :12]))


def test_function_transforms(parts):
    x, weight, bias = parts
    mapped = torch.func.vmap(lambda row: fused_linear(row.unsqueeze(0), weight, bias).squeeze(0))(x)
    torch.testing.assert_close(mapped, F.linear(x, weight, bias))
    _, tangent = torch.func.jvp(lambda rows: fused_linear(rows, weight, bias), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, F.linear(torch.ones_like(x), weight))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(fused_linear(dual, weight, bias)).tangent
    torch.testing.assert_close(tangent, F.linear(torch.ones_like(x), weight))


def test_products_are_counted(parts):
    x, weight, bias = parts
    counters = FlopCounterMode(display=False), FlopCounterMode(display=False)
    for counter, function in zip(counters, (fused_linear, F.linear), strict=True):
        with counter:
            function(x, weight, bias)
    assert counters[0].get_total_flops() == counters[1].get_total_flops() == 2 * 30 * 24 * 40


def test_wrong_width_is_torchs_error(parts):
    x, weight, bias = parts
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fused_linear(x[:, 1:], weight, bias)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("fused", [True, False])
def test_layers_in_float32_are_what_they_are_in_float64(groups, fused):
    """Only float32 uses the kernel."""
    torch.manual_seed(0)
    layer = LinearNorm(24, 40, groups=groups)
    layer(torch.randn(50, 24))
    precise = copy.deepcopy(layer).double().eval()
    layer.eval()
    if fused:
        layer.fold_norm()
    x, act = torch.randn(60, 24), nn.GELU()
    expected = act(precise.norm(precise.linear(x.double())))
    for tracked in (True, False):
        with torch.set_grad_enabled(tracked):
            torch.testing.assert_close(layer(x, act).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", [None, nn.GELU(), nn.PReLU()], ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_inside_a_compiled_region(parts, act, train):
    x, weight, bias = (part.requires_grad_(train) for part in parts)
    compiled = torch.compile(fused_linear, fullgraph=True, backend="aot_eager")
    out, expected = compiled(x, weight, bias, act), fused_linear(x, weight, bias, act)
    torch.testing.assert_close(out, expected)
    if train:
        gradients = (torch.autograd.grad(part.square().sum(), (x, weight, bias)) for part in (out, expected))
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_the_operators_keep_their_promises(parts):
    x, weight, bias = parts
    operators = torch.ops.pyg_vig
    torch.library.opcheck(operators.fused_linear, (x, None, weight, bias, bias, 1, "gelu", torch.randn(30, 40)))
    torch.library.opcheck(operators.fused_linear, (x, x, weight[:, :12].contiguous(), None, None, 4, "none", None))
    torch.library.opcheck(operators.activate, (x, "silu"))
    assert operators.fused_linear(x[:0], None, weight, bias, None, 1, "gelu", None).shape == (0, 40)
    with native_kernels(False):
        for act in native.ACTIVATIONS:
            expected = operators.fused_linear(x, None, weight, bias, bias, 1, act, weight.sum(1).expand(30, 40))
            with native_kernels(True):
                found = operators.fused_linear(x, None, weight, bias, bias, 1, act, weight.sum(1).expand(30, 40))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("act", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("tracked", [True, False])
def test_convolution_and_its_activation(act, groups, tracked):
    conv = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(2, 8, 9, 7).contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(tracked):
        out = fused_conv2d(x, conv, conv.weight * 2, conv.bias, act)
    expected = F.conv2d(x, conv.weight * 2, conv.bias, 2, 1, groups=groups)
    torch.testing.assert_close(out, expected if act is None else act(expected), rtol=1e-5, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.requires_grad == tracked


def test_convolutions_are_counted():
    conv, x = nn.Conv2d(8, 12, 3, groups=2), torch.randn(2, 8, 9, 7)
    with torch.inference_mode(), FlopCounterMode(display=False) as fused:
        fused_conv2d(x, conv, conv.weight, conv.bias, nn.GELU())
    with torch.inference_mode(), FlopCounterMode(display=False) as plain:
        conv(x)
    assert fused.get_total_flops() == plain.get_total_flops() > 0


def test_a_hook_on_an_activation_after_a_convolution_sees_its_output():
    conv, act, seen = nn.Conv2d(3, 4, 1), nn.GELU(), []
    act.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        out = fused_conv2d(torch.randn(1, 3, 5, 5), conv, conv.weight, conv.bias, act)
    assert seen[0] is out


@pytest.mark.parametrize("pair", [False, True], ids=["rows", "pair"])
def test_groups_filled_up_with_zeros(pair: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on GPUs, one product with a block-diagonal matrix equals the grouped product, including gradients."""
    rows = tuple(torch.randn(7, 12, dtype=torch.float64, requires_grad=True) for _ in range(1 + pair))
    weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((8, 3 * len(rows)), (8,))
    )
    x = rows if pair else rows[0]
    expected = fused_linear(x, weight, bias, groups=4)
    monkeypatch.setattr("pyg_vig.nn.linear_fallback.prefers_block_diagonal", lambda *_: True)
    found = fused_linear(x, weight, bias, groups=4)
    assert_close(found, expected)
    inputs = [*rows, weight, bias]
    factor = torch.randn_like(expected)
    for pair_of_gradients in zip(
        *(torch.autograd.grad((out * factor).sum(), inputs, create_graph=True) for out in (found, expected)),
        strict=True,
    ):
        assert_close(*pair_of_gradients)
    torch.autograd.gradgradcheck(
        lambda *parts: fused_linear(parts[:-2] if pair else parts[0], *parts[-2:], groups=4), inputs
    )


def test_a_shortcut_may_broadcast():
    x, weight, row = torch.rand(50, 4), torch.rand(8, 4), torch.rand(1, 8)
    assert torch.allclose(fused_linear(x, weight, shortcut=row), x @ weight.T + row)


@pytest.mark.parametrize("wrong", [{"bias": 1}, {"scale": 1}, {"second input": 3}], ids=str)
def test_sizes_that_do_not_fit_are_refused(wrong):
    rows, columns = torch.rand(30, 4), 8 if "second input" in wrong else 4
    x = (rows, rows[: wrong["second input"]]) if "second input" in wrong else rows
    affine = {name: torch.rand(size) for name, size in wrong.items() if name != "second input"}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        fused_linear(x, torch.rand(8, columns), **affine)
