"""The matrix product of the linear layers in plain PyTorch, for all devices and dtypes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_vig.kernels import is_untransformed
from pyg_vig.nn.rematerialize import save_recipe

_MOST_GROUPS, _WIDEST = 8, 1280  # most groups and outputs for which a block-diagonal matrix is faster on GPUs


def plain_product(
    rows: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, groups: int, scale: Tensor | None
) -> Tensor:
    """Compute :func:`pyg_vig.nn.product.product` without activation and shortcut.

    Args:
        rows: one input matrix, or two whose channels are interleaved.
        weight: ``(out_channels, in_channels / groups)``.
        bias: ``(out_channels,)``.
        groups: number of independent channel groups.
        scale: factor of every output channel.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.plain_product import plain_product
        >>> plain_product((torch.ones(1, 4),), torch.ones(2, 2), None, 2, None)
        tensor([[2., 2.]])
    """
    if scale is not None:
        weight = weight * scale.unsqueeze(1)
    if len(rows) * groups > 1 and _pays_as_block_diagonal(rows[0], weight, groups):
        if torch.is_autocast_enabled(weight.device.type):
            weight = weight.to(rows[0].dtype)  # before it is expanded to full matrices
        first, *others = _BlockDiagonals.apply(weight, groups, len(rows)).unbind()
        out = _multiply_plainly(rows[0], first, bias)
        for part, block in zip(rows[1:], others, strict=True):
            out = save_recipe(part, torch.addmm(out, part, block.t()), "mat1")
        return out
    x = rows[0] if len(rows) == 1 else torch.stack(rows, dim=-1).flatten(1)
    if groups == 1:
        return _multiply_plainly(x, weight, bias)
    parts = x.unflatten(1, (groups, -1)).transpose(0, 1)  # (G, N, in / G)
    weights = weight.view(groups, -1, weight.size(1)).mT  # (G, in / G, out / G)
    out = torch.bmm(parts, weights) if bias is None else torch.baddbmm(bias.view(groups, 1, -1), parts, weights)
    return out.transpose(0, 1).flatten(1)


def _multiply_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return save_recipe(x, F.linear(x, weight, bias), "self" if bias is None else "mat1")


def _pays_as_block_diagonal(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether one product with zeros between the groups is faster than rearranging the rows by group.

    On a GPU's matrix units the zeros cost less than the copies, up to about these widths on an H200. (A dispatch mode,
    such as a FLOP counter, gets to see the published operations.)
    """
    if x.device.type != "cuda" or groups > _MOST_GROUPS or weight.size(0) > _WIDEST or x.dim() != 2:
        return False
    watched = not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack()
    return not watched and is_untransformed(x, weight)


class _BlockDiagonals(torch.autograd.Function):
    """Expand grouped weights ``(out, parts * in / G)`` to matrices ``(parts, out, in)`` with zeros between groups."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, groups: int, parts: int) -> Tensor:
        ctx.groups, ctx.parts = groups, parts
        blocks = weight.view(groups, weight.size(0) // groups, -1, parts)  # (G, out / G, in / G, parts)
        _, height, width, _ = blocks.shape
        full = weight.new_zeros(parts, groups, height, groups, width)
        full.diagonal(dim1=1, dim2=3).copy_(blocks.permute(3, 1, 2, 0))
        return full.view(parts, groups * height, groups * width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        full = grad.unflatten(2, (ctx.groups, -1)).unflatten(1, (ctx.groups, -1))
        blocks = full.diagonal(dim1=1, dim2=3).permute(3, 1, 2, 0)  # (G, out / G, in / G, parts)
        return blocks.flatten(2).flatten(0, 1), None, None
