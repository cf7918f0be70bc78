from __future__ import annotations

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyg_vig.graph import Layout
from pyg_vig.native import native_kernels
from pyg_vig.native.build import load_library
from pyg_vig.nn import ConvNorm, LayerScale, LinearNorm, ViGBlock
from pyg_vig.nn.linear import PairUpdate
from pyg_vig.nn.rematerialize import add_residual, register_recipe, save_recipe

needs_kernels = pytest.mark.skipif(load_library() is None, reason="no C compiler")


class StorageTracker:
    """Tracks whether the memory of the tensors passed to it is still in use."""

    def __init__(self) -> None:
        self.seen: list[Callable[[], object]] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.seen.append(weakref.ref(x.untyped_storage()))
        return x

    def note(self, x: Tensor) -> None:
        self(x)

    def held(self) -> list[bool]:
        return [storage() is not None for storage in self.seen]


def doubled(x: Tensor) -> Tensor:
    return register_recipe(x * 2, lambda kept: kept * 2, x)


def squared(x: Tensor) -> Tensor:
    return save_recipe(x, x.square(), "self")


class TestProtocol:
    def test_the_matrix_is_freed_and_its_gradients_are_those_of_the_kept(self):
        x, watch = torch.randn(5, 3, requires_grad=True), StorageTracker()
        out = squared(watch(doubled(x)))
        assert watch.held() == [False]
        torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], 8 * x)

    def test_without_forgetting_it_is_held(self):
        x, watch = torch.randn(5, 3, requires_grad=True), StorageTracker()
        out = watch(doubled(x)).square()
        assert watch.held() == [True]
        out.sum().backward()

    def test_views_are_made_of_what_they_look_at(self):
        x, watch = torch.randn(5, 3, requires_grad=True), StorageTracker()
        view = watch(doubled(x)).t()[1:]
        out = save_recipe(view, view.square(), "self")
        del view
        assert watch.held() == [False]
        (gradient,) = torch.autograd.grad(out.sum(), x)
        torch.testing.assert_close(gradient, torch.cat([torch.zeros(5, 1), 8 * x[:, 1:]], 1))

    def test_gradients_of_gradients_reach_the_matrix_itself(self):
        x = torch.randn(5, 3, requires_grad=True)
        double = doubled(x)
        (slope,) = torch.autograd.grad(squared(double).pow(2).sum(), double, create_graph=True)  # 4 d^3
        ours = torch.autograd.grad(slope.sum(), (double, x))
        torch.testing.assert_close(ours, (12 * double**2, 24 * double**2))

    def test_the_graph_can_be_kept(self):
        x = torch.randn(5, 3, requires_grad=True)
        out = squared(doubled(x)).sum()
        gradients = [torch.autograd.grad(out, x, retain_graph=True)[0] for _ in range(3)]
        assert torch.equal(gradients[0], gradients[1])
        assert torch.equal(gradients[0], gradients[2])

    def test_a_matrix_changed_in_place_is_kept(self):
        x = torch.randn(5, 3, requires_grad=True)
        double = doubled(x)
        with torch.no_grad():
            double += 1
        torch.testing.assert_close(torch.autograd.grad(squared(double).sum(), x)[0], 4 * (2 * x + 1))

    def test_parts_changed_in_place_are_an_error(self):
        x = torch.randn(5, 3, requires_grad=True)
        out = squared(doubled(x))
        with torch.no_grad():
            x += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()

    def test_hooks_of_others_come_first(self):
        x, packed = torch.randn(5, 3, requires_grad=True), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.clone()) or t, lambda t: t):
            out = squared(doubled(x))
        assert any(torch.equal(entry, 2 * x) for entry in packed)
        torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], 8 * x)

    def test_of_a_chain_of_sums_every_second_is_made_again(self):
        x, watch = torch.randn(5, 3, requires_grad=True), StorageTracker()
        out, rows = [], x * 1
        for _ in range(4):
            rows = add_residual(rows, doubled(x))
            out.append(squared(watch(rows)))
        del rows
        assert watch.held() == [False, True, False, True]
        torch.testing.assert_close(
            torch.autograd.grad(sum(part.sum() for part in out), x)[0], 2 * x * (9 + 25 + 49 + 81)
        )


@needs_kernels
@pytest.mark.parametrize("act", [None, nn.ReLU(), nn.GELU()])
@pytest.mark.parametrize("groups", [1, 2])
def test_activations_before_products_are_not_kept(act, groups):
    first, second, watch = LinearNorm(6, 24), LinearNorm(24, 8, groups=groups), StorageTracker()
    out = second(watch(first(torch.randn(40, 6), act)))
    assert watch.held() == [False]
    out.square().sum().backward()


@needs_kernels
def test_activations_between_convolutions_are_not_kept():
    first, second, watch = ConvNorm(3, 8), ConvNorm(8, 4, stride=2), StorageTracker()
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    out = second(watch(first(x, nn.GELU())))
    assert watch.held() == [False]
    out.square().sum().backward()


@needs_kernels
def test_branches_before_layer_scales_are_not_kept():
    watch = StorageTracker()
    out = LayerScale(8)(watch(LinearNorm(6, 8)(torch.randn(40, 6))))
    assert watch.held() == [False]
    out.sum().backward()


@needs_kernels
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_of_pairs_neither_is_kept(groups):
    watch, leaves = StorageTracker(), torch.randn(2, 40, 8, requires_grad=True).unbind()
    out = PairUpdate(8, 16, groups=groups, norm="batch")(*(watch(doubled(leaf)) for leaf in leaves))
    assert watch.held() == [False, False]
    out.square().sum().backward()


def gradients(block: nn.Module, x: Tensor, run: Callable[..., Tensor] = lambda block, x: block(x)) -> list[Tensor]:
    block = copy.deepcopy(block)
    x = x.clone().requires_grad_()
    out = run(block, x)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).cos()
    return [out, *torch.autograd.grad((out * weight).sum(), [x, *block.parameters()])]


BLOCKS = {
    "plain": {},
    "pooled": {"reduction": 2},
    "scaled": {"layer_scale": 0.5, "act": "relu"},
    "ungrouped": {"heads": 1},
    "without fc": {"fc": False, "heads": 1, "ffn": False},
}


def block_and_rows(name: str) -> tuple[Callable[[nn.Module, Tensor], Tensor], nn.Module, Tensor]:
    layout = Layout.from_grid(2, 6, 6)
    return (lambda block, x: block(block(x, layout), layout)), ViGBlock(16, k=4, **BLOCKS[name]), torch.randn(72, 16)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_of_blocks_are_those_of_kept_matrices(name):
    """Gradients are equal bit by bit and, up to rounding, equal those of PyTorch's own layers."""
    run, block, x = block_and_rows(name)
    ours = gradients(block, x, run)
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept):
        kept = gradients(block, x, run)
    assert all(torch.equal(*pair) for pair in zip(ours, kept, strict=True))
    with native_kernels(False):
        plain = gradients(block, x, run)
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3)


def test_checkpointing_keeps_its_gradients_and_its_memory():
    run, block, x = block_and_rows("plain")
    watch = StorageTracker()

    def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
        handle = block.ffn.fc1.register_forward_hook(lambda module, args, out: watch.note(out))
        out = checkpoint(run, block, x, use_reentrant=False)
        handle.remove()
        assert not any(watch.held())
        return out

    found, expected = gradients(block, x, checkpointed), gradients(block, x, run)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_gradients_of_gradients_of_a_block():
    run, block, x = block_and_rows("plain")

    def penalty(x: Tensor) -> Tensor:
        weight = block.ffn.fc2.linear.weight
        (slope,) = torch.autograd.grad(run(block, x).pow(2).mean(), weight, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    ours = penalty(x.requires_grad_())
    with native_kernels(False):
        torch.testing.assert_close(ours, penalty(x), rtol=1e-2, atol=1e-3)


def test_parameters_may_change_before_the_way_back():
    """The input of a product is recomputed with the parameters of the forward pass."""
    first, second, x = LinearNorm(6, 8), LinearNorm(8, 4), torch.randn(40, 6)
    out = second(first(x, nn.GELU()))
    (expected,) = torch.autograd.grad(out.pow(2).sum(), second.linear.weight, retain_graph=True)
    with torch.no_grad():
        first.norm.weight += 1
    assert torch.equal(torch.autograd.grad(out.pow(2).sum(), second.linear.weight)[0], expected)


def test_frozen_layers():
    first, second, x = LinearNorm(6, 8), LinearNorm(8, 4), torch.randn(40, 6)
    first.requires_grad_(False)
    second.linear.weight.requires_grad_(False)
    second(first(x, nn.GELU())).pow(2).sum().backward()
    assert second.norm.weight.grad is not None


def test_a_saved_output_is_a_plain_tensor(tmp_path):
    out = LinearNorm(6, 8)(torch.randn(40, 6))
    torch.save(out, tmp_path / "out.pt")
    assert (tmp_path / "out.pt").stat().st_size < 4 * out.numel() + 4096
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True), out)
    assert F.relu(out).requires_grad
