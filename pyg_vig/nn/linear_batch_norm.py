"""Linear layer, batch norm with the statistics of the batch, and activation as one node of the autograd graph.

In training on a GPU, the host limits the speed of small networks: for every layer it spends longer on autograd's nodes,
casts and hooks than the GPU on the arithmetic. One node for all three, instead of three to ten, saves a tenth to a
fifth of a step of ViG-Ti.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig import triton_kernels
from pyg_vig.graph.precision import cast
from pyg_vig.kernels import is_untransformed
from pyg_vig.nn.activation import kernel_name
from pyg_vig.nn.batch_norm import batch_norm_gradients, check_rows, recompute_output, running_statistics
from pyg_vig.nn.block_diagonal import block_diagonal, block_gradient, prefers_block_diagonal
from pyg_vig.nn.norm import BatchNorm
from pyg_vig.nn.rematerialize import register_recipe, save_recipe


def can_fuse_linear_batch_norm(inputs: tuple[Tensor, ...], weight: Tensor, groups: int) -> bool:
    """Whether :func:`linear_batch_norm` can compute a layer for which batch norm and activation can be fused."""
    if torch.compiler.is_compiling() or inputs[0].dim() != 2 or not triton_kernels.is_supported(inputs[0]):
        return False
    if _autocast_dtype(weight) is None and inputs[0].dtype != weight.dtype:  # an error, which the product raises
        return False
    if len(inputs) * groups > 1:
        return prefers_block_diagonal(inputs[0], weight, groups)
    return is_untransformed(inputs[0], weight)


def linear_batch_norm(
    inputs: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, norm: BatchNorm, act: nn.Module, groups: int
) -> Tensor:
    r"""Compute :math:`\sigma(\mathrm{BN}(X W^\top + b))` with the batch's statistics, which also update the norm's.

    As in :func:`pyg_vig.nn.batch_norm.fused_batch_norm`, the bias only shifts the running mean, and the output can be
    recomputed from the product, which is stored. Under autocast the product is in its dtype.

    Args:
        inputs: one matrix of rows, or two whose channels are interleaved.
        weight: ``(out_channels, in_channels / groups)``; ``in_channels`` counts the channels of both inputs.
        bias: ``(out_channels,)``.
        norm: the batch norm.
        act: the activation.
        groups: number of independent channel groups.

    Raises:
        ValueError: for fewer than two rows, which have no variance.
    """
    check_rows(inputs[0])
    dtype = _autocast_dtype(weight)
    if dtype is not None:
        inputs = tuple(x.to(dtype) for x in inputs)
    options = groups, norm.eps, str(kernel_name(act))
    tensors = weight, norm.weight, norm.bias, bias
    out, product, coefficients = _LinearBatchNorm.apply(options, running_statistics(norm, bias), *tensors, *inputs)
    for index, x in enumerate(inputs):
        save_recipe(x, out, "tensors", index)
    return register_recipe(out, partial(recompute_output, options[2]), product, coefficients)


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of products under autocast, or ``None``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class _LinearBatchNorm(torch.autograd.Function):
    """Returns the output, the product, and the norm's coefficients; only the output has gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        options: tuple[int, float, str],
        running: tuple[Any, ...] | None,
        weight: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        bias: Tensor | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from pyg_vig.triton_kernels import batch_norm as kernels

        groups, eps, act = options
        # Cast here rather than by autocast, whose cache would keep a copy without gradients for the rest of the step.
        matrices = block_diagonal(cast(weight, inputs[0].dtype), groups, len(inputs))
        product = _product(inputs, matrices)
        out, coefficients = kernels.batch_norm(product, norm_weight, norm_bias, eps, act, running)
        ctx.options, ctx.bias_dtype = options, None if bias is None else bias.dtype
        ctx.save_for_backward(*inputs, *matrices, product, coefficients, weight, norm_weight, norm_bias)
        ctx.mark_non_differentiable(product, coefficients)
        ctx.set_materialize_grads(False)
        return out, product, coefficients

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        *pairs, product, coefficients, weight, norm_weight, norm_bias = ctx.saved_tensors
        inputs, matrices = tuple(pairs[: len(pairs) // 2]), tuple(pairs[len(pairs) // 2 :])
        groups, eps, act = ctx.options
        if torch.is_grad_enabled():  # for gradients of gradients, as functions of the inputs and weights
            matrices = block_diagonal(cast(weight, inputs[0].dtype), groups, len(inputs))
            product = _product(inputs, matrices)
        grad, grad_norm_weight, grad_norm_bias, zeros = batch_norm_gradients(
            product, norm_weight, norm_bias, coefficients, grad, eps, act
        )
        _, _, needs_weight, _, _, needs_bias, *needs_inputs = ctx.needs_input_grad
        grad_weight = grad_bias = None
        if needs_weight:
            grad_weight = cast(block_gradient([grad.t() @ x for x in inputs], groups), weight.dtype)
        if needs_bias:
            grad_bias = cast(zeros, ctx.bias_dtype)
        grads = (grad @ matrix if needed else None for matrix, needed in zip(matrices, needs_inputs, strict=True))
        return None, None, grad_weight, grad_norm_weight, grad_norm_bias, grad_bias, *grads


def _product(inputs: tuple[Tensor, ...], matrices: tuple[Tensor, ...]) -> Tensor:
    product = inputs[0] @ matrices[0].t()
    for x, matrix in zip(inputs[1:], matrices[1:], strict=True):
        product = torch.addmm(product, x, matrix.t())
    return product
