"""The linear layers in plain PyTorch, for all devices and dtypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_vig.nn.block_diagonal import block_diagonal, prefers_block_diagonal
from pyg_vig.nn.rematerialize import save_recipe


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
    if len(inputs) * groups > 1 and prefers_block_diagonal(inputs[0], weight, groups):
        if torch.is_autocast_enabled(weight.device.type):
            weight = weight.to(inputs[0].dtype)  # before it is expanded to full matrices
        first, *others = block_diagonal(weight, groups, len(inputs))
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
