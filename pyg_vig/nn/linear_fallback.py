"""The linear layers in plain PyTorch, for all devices and dtypes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_vig.kernels import is_untransformed
from pyg_vig.nn.rematerialize import save_recipe

_MAX_GROUPS, _MAX_OUTPUTS = 8, 1280  # for up to as many, a block-diagonal matrix is faster on GPUs


def linear_fallback(
    inputs: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, groups: int, scale: Tensor | None
) -> Tensor:
    """Compute :func:`pyg_vig.nn.fused_linear.fused_linear` without activation and shortcut.

    Args:
        inputs: one input matrix, or two whose channels are interleaved.
        weight: ``(out_channels, in_channels / groups)``.
        bias: ``(out_channels,)``.
        groups: number of independent channel groups.
        scale: factor of every output channel.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.linear_fallback import linear_fallback
        >>> linear_fallback((torch.ones(1, 4),), torch.ones(2, 2), None, 2, None)
        tensor([[2., 2.]])
    """
    if scale is not None:
        weight = weight * scale.unsqueeze(1)
    if len(inputs) * groups > 1 and _should_use_block_diagonal(inputs[0], weight, groups):
        if torch.is_autocast_enabled(weight.device.type):
            weight = weight.to(inputs[0].dtype)  # before it is expanded to full matrices
        first, *others = _ExpandBlockDiagonal.apply(weight, groups, len(inputs)).unbind()
        out = _linear(inputs[0], first, bias)
        for x, block in zip(inputs[1:], others, strict=True):
            out = save_recipe(x, torch.addmm(out, x, block.t()), "mat1")
        return out
    x = inputs[0] if len(inputs) == 1 else torch.stack(inputs, dim=-1).flatten(1)
    if groups == 1:
        return _linear(x, weight, bias)
    parts = x.unflatten(1, (groups, -1)).transpose(0, 1)  # (G, N, in / G)
    weights = weight.view(groups, -1, weight.size(1)).mT  # (G, in / G, out / G)
    out = torch.bmm(parts, weights) if bias is None else torch.baddbmm(bias.view(groups, 1, -1), parts, weights)
    return out.transpose(0, 1).flatten(1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return save_recipe(x, F.linear(x, weight, bias), "self" if bias is None else "mat1")


def _should_use_block_diagonal(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether one product with zeros between the groups is faster than rearranging the rows by group.

    On a GPU's matrix units the zeros cost less than the copies, up to about these widths on an H200. (A dispatch mode,
    such as a FLOP counter, gets to see the published operations.)
    """
    if x.device.type != "cuda" or groups > _MAX_GROUPS or weight.size(0) > _MAX_OUTPUTS or x.dim() != 2:
        return False
    is_intercepted = not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack()
    return not is_intercepted and is_untransformed(x, weight)


class _ExpandBlockDiagonal(torch.autograd.Function):
    """Expand grouped weights ``(out, P * in / G)`` to matrices ``(P, out, in)``, with zeros between groups, for ``P``
    inputs.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, groups: int, num_inputs: int) -> Tensor:
        ctx.groups, ctx.num_inputs = groups, num_inputs
        blocks = weight.view(groups, weight.size(0) // groups, -1, num_inputs)  # (G, out / G, in / G, P)
        _, height, width, _ = blocks.shape
        full = weight.new_zeros(num_inputs, groups, height, groups, width)
        full.diagonal(dim1=1, dim2=3).copy_(blocks.permute(3, 1, 2, 0))
        return full.view(num_inputs, groups * height, groups * width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        full = grad.unflatten(2, (ctx.groups, -1)).unflatten(1, (ctx.groups, -1))
        blocks = full.diagonal(dim1=1, dim2=3).permute(3, 1, 2, 0)  # (G, out / G, in / G, P)
        return blocks.flatten(2).flatten(0, 1), None, None
