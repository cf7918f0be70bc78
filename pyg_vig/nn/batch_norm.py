"""Training-mode batch norm fused with the subsequent activation; only one matrix is stored for the backward pass.

It is a C kernel on CPUs and a Triton kernel on GPUs, with two passes over the rows in each direction.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig import native, triton_kernels
from pyg_vig.graph.precision import cast
from pyg_vig.kernels import is_untransformed, register_operator
from pyg_vig.nn.activation import activate, kernel_name
from pyg_vig.nn.fused_linear import can_use_kernels
from pyg_vig.nn.hooks import has_hooks
from pyg_vig.nn.norm import BatchNorm, tracks_running_statistics, update_running_statistics
from pyg_vig.nn.rematerialize import register_recipe

aten = torch.ops.aten


def can_fuse_batch_norm(norm: nn.Module, act: nn.Module, x: Tensor) -> TypeGuard[BatchNorm]:
    """Whether :func:`fused_batch_norm` can compute ``act(norm(x))``, with ``norm`` using batch statistics.

    Both must be PyTorch's own modules, without hooks (which would not be called); ``act`` none, ReLU or (exact) GELU.
    """
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or not norm.training or has_hooks(norm):
        return False
    weight: Any = norm.weight
    if weight is None or kernel_name(act) not in native.BATCH_NORM_ACTIVATIONS:
        return False
    if x.is_cuda:
        return (
            triton_kernels.is_supported(x)
            and x.dtype != torch.float64
            and norm.momentum is not None
            and is_untransformed(x, weight)
        )
    return can_use_kernels(x, weight)


def fused_batch_norm(x: Tensor, norm: BatchNorm, act: nn.Module, offset: Tensor | None) -> Tensor:
    r"""Normalise the rows by their own statistics and apply the activation, :math:`\sigma(\mathrm{BN}(X + o))`.

    The offset, which is the bias of the previous layer, cancels in the output: it only shifts the running mean, and its
    gradient is zero. So it is not added. Only ``x`` is stored for the backward pass, which recomputes the activation's
    derivative from it, and the output if needed (:mod:`pyg_vig.nn.rematerialize`).

    Args:
        x: rows ``(N, C)``; on a CPU, in float32.
        norm: the batch norm, whose running statistics are updated as in its own call.
        act: the activation; see :func:`can_fuse_batch_norm`.
        offset: :math:`o`, ``(C,)``.

    Raises:
        ValueError: for fewer than two rows, which have no variance.
    """
    check_rows(x)
    options = norm.eps, str(kernel_name(act))
    if torch.compiler.is_compiling():
        x = x if offset is None else _WithZeroGradient.apply(x, offset)
        out, coefficients = _batch_norm_operator(x, norm.weight, norm.bias, *options)
        _update_running_statistics(norm, coefficients.detach(), offset, x.size(0))
        return out
    running = running_statistics(norm, offset) if x.is_cuda else None
    out, coefficients = _FusedBatchNorm.apply(x, norm.weight, norm.bias, offset, *options, running)
    if running is None:
        _update_running_statistics(norm, coefficients, offset, x.size(0))
    return register_recipe(out, partial(recompute_output, options[1]), x, coefficients)


def check_rows(x: Tensor) -> None:
    """Raise a ValueError for fewer than two rows, which have no variance."""
    if x.size(0) < 2:
        raise ValueError(f"batch norm in training needs at least two rows, got {x.size(0)}: use a larger batch")


def running_statistics(norm: BatchNorm, offset: Tensor | None) -> tuple[Any, ...] | None:
    """Running statistics that the GPU kernel updates itself, which saves some launches."""
    if not tracks_running_statistics(norm):
        return None
    offset = None if offset is None else offset.detach()
    return norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.momentum, offset


def recompute_output(act: str, x: Tensor, coefficients: Tensor) -> Tensor:
    """Recompute the output from the rows and the coefficients of the forward pass."""
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels import batch_norm as kernels

        return kernels.normalize(x.contiguous(), coefficients, act)
    if native.is_supported(x):
        return native.normalize(x, coefficients, act)
    mean, _, scale, shift = coefficients
    return activate(torch.addcmul(shift, x - mean, scale), act)


@torch.no_grad()
def _update_running_statistics(norm: BatchNorm, coefficients: Tensor, offset: Tensor | None, count: int) -> None:
    mean, var = coefficients[:2]
    update_running_statistics(norm, mean if offset is None else mean + offset, var, count)


@partial(register_operator, name="batch_norm")
def _batch_norm_operator(x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str) -> tuple[Tensor, Tensor]:
    """Output and coefficients as a custom operator for compilers, whose own batch norm is slower on CPUs."""
    return _forward(x, weight, bias, eps, act)


@partial(register_operator, name="batch_norm_backward")
def _batch_norm_backward_operator(
    x: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor, grad: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_bias, _ = batch_norm_gradients(x, weight, bias, coefficients, grad, eps, act)
    return grad_x, grad_weight, grad_bias


@torch.library.register_fake("pyg_vig::batch_norm")
def _(x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(4, x.size(1), dtype=torch.promote_types(x.dtype, torch.float32))


@torch.library.register_fake("pyg_vig::batch_norm_backward")
def _(
    x: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor, grad: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(weight), torch.empty_like(bias)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], output[1])
    ctx.options = inputs[3:]


def _operator_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return *_batch_norm_backward_operator(*ctx.saved_tensors, grad, *ctx.options), None, None


torch.library.register_autograd("pyg_vig::batch_norm", _operator_backward, setup_context=_setup_context)


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str, running: tuple[Any, ...] | None = None
) -> tuple[Tensor, Tensor]:
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels import batch_norm as kernels

        return kernels.batch_norm(x.contiguous(), weight, bias, eps, act, running)
    if native.is_supported(x):
        return native.batch_norm(x, weight, bias, eps, act)
    var, mean = torch.var_mean(x, 0, correction=0)
    coefficients = torch.stack([mean, var, weight * torch.rsqrt(var + eps), bias])
    return _batch_norm_reference(x, weight, bias, eps, act), coefficients


def batch_norm_gradients(
    x: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor, grad: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of rows, weight, bias, and offset; that of the offset is zero."""
    if triton_kernels.is_supported(x) and not torch.is_grad_enabled():
        from pyg_vig.triton_kernels import batch_norm as kernels

        grad_x, grad_weight, grad_bias, zeros = kernels.batch_norm_backward(
            x.contiguous(), grad.contiguous(), coefficients, eps, act
        )
        return grad_x, cast(grad_weight, weight.dtype), cast(grad_bias, bias.dtype), zeros
    if native.is_supported(x) and not torch.is_grad_enabled():
        grads = native.batch_norm_backward(x, grad, coefficients, eps, act)
    else:
        grads = _differentiable_gradients(x, weight, bias, coefficients, grad, eps, act)
    return *grads, torch.zeros_like(grads[2])


def _differentiable_gradients(
    x: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor, grad: Tensor, eps: float, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of rows, weight and bias, in operators that are differentiable, for gradients of gradients.

    They need no recorded graph, since nothing is recorded inside a custom operator.
    """
    if act != "none":
        grad = _activation_backward(grad, _batch_norm_reference(x, weight, bias, eps, "none"), act)
    mean, var = coefficients[:2]
    inv_std, output_mask = torch.rsqrt(var + eps), [True, True, True]
    return aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inv_std, True, eps, output_mask)


def _activation_backward(grad: Tensor, x: Tensor, act: str) -> Tensor:
    return aten.gelu_backward(grad, x) if act == "gelu" else aten.threshold_backward(grad, x, 0)


def _batch_norm_reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: str) -> Tensor:
    return activate(F.batch_norm(x, None, None, weight, bias, training=True, eps=eps), act)


class _FusedBatchNorm(torch.autograd.Function):
    """Output and coefficients outside compiled regions; an offset gets a zero gradient, which optimisers see."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        offset: Tensor | None,
        eps: float,
        act: str,
        running: tuple[Any, ...] | None,
    ) -> tuple[Tensor, Tensor]:
        out, coefficients = _forward(x, weight, bias, eps, act, running)
        ctx.save_for_backward(x, weight, bias, coefficients)
        ctx.options = eps, act
        ctx.offset_dtype = None if offset is None else offset.dtype
        ctx.mark_non_differentiable(coefficients)
        ctx.set_materialize_grads(False)
        return out, coefficients

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 7
        x, weight, bias, coefficients = ctx.saved_tensors
        grads = batch_norm_gradients(x, weight, bias, coefficients, grad, *ctx.options)
        grad_offset = cast(grads[3], ctx.offset_dtype) if ctx.needs_input_grad[3] else None
        return *grads[:3], grad_offset, None, None, None


class _WithZeroGradient(torch.autograd.Function):
    """Identity on the rows that also gives ``unused``, which does not affect them, a zero gradient, when compiling."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unused: Tensor) -> Tensor:
        ctx.save_for_backward(unused)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, torch.zeros_like(ctx.saved_tensors[0])
