"""Grouped weights as full matrices, with zeros between the groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyg_vig.kernels import is_untransformed

_MAX_GROUPS, _MAX_OUTPUTS = 8, 1280  # for up to as many, full matrices are faster on GPUs


def prefers_block_diagonal(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether products with full matrices are faster than rearranging the rows of ``x`` by group.

    On a GPU's matrix units the zeros cost less than the copies, up to about these widths on an H200. (A dispatch mode,
    such as a FLOP counter, gets to see the published operations.)
    """
    if not x.is_cuda or groups > _MAX_GROUPS or weight.size(0) > _MAX_OUTPUTS or x.dim() != 2:
        return False
    is_intercepted = not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack()
    return not is_intercepted and is_untransformed(x, weight)


def block_diagonal(weight: Tensor, groups: int, num_inputs: int) -> tuple[Tensor, ...]:
    """Return a full matrix ``(out, in)`` for each of the inputs whose channels are interleaved.

    Args:
        weight: ``(out, num_inputs * in / groups)``.
        groups: number of independent channel groups.
        num_inputs: number of inputs.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.block_diagonal import block_diagonal
        >>> block_diagonal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), groups=2, num_inputs=1)
        (tensor([[1., 2., 0., 0.],
                [0., 0., 3., 4.]]),)
    """
    return (weight,) if groups * num_inputs == 1 else _BlockDiagonal.apply(weight, groups, num_inputs).unbind()


def block_gradient(grads: Sequence[Tensor], groups: int) -> Tensor:
    """Return the weight's gradient from those of the matrices of :func:`block_diagonal`."""
    if groups * len(grads) == 1:
        return grads[0]
    height, width = (size // groups for size in grads[0].shape)
    blocks = [grad.view(groups, height, groups, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1) for grad in grads]
    return torch.stack(blocks, -1).view(groups * height, -1)


class _BlockDiagonal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, groups: int, num_inputs: int) -> Tensor:
        ctx.groups = groups
        blocks = weight.view(groups, weight.size(0) // groups, -1, num_inputs)  # (G, out / G, in / G, P)
        _, height, width, _ = blocks.shape
        full = weight.new_zeros(num_inputs, groups, height, groups, width)
        full.diagonal(dim1=1, dim2=3).copy_(blocks.permute(3, 1, 2, 0))
        return full.view(num_inputs, groups * height, groups * width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return block_gradient(grad.unbind(), ctx.groups), None, None
