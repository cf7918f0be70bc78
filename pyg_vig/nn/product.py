"""The product of every linear layer, and convolutions, with what stands around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig import native
from pyg_vig.kernels import are_plain, is_untransformed, operator
from pyg_vig.nn.activation import activate, kernel_name
from pyg_vig.nn.plain_product import plain_product
from pyg_vig.nn.rematerialize import save_recipe

IDENTITY = nn.Identity()  # one for all layers without an activation


def product(
    x: Tensor | tuple[Tensor, Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    act: nn.Module | None = None,
    *,
    groups: int = 1,
    scale: Tensor | None = None,
    shortcut: Tensor | None = None,
) -> Tensor:
    r"""Rows times weights and what stands around it, :math:`\sigma(s \odot X W^\top + b) + R`.

    In float32 on a CPU it is one kernel in C (:mod:`pyg_vig.native`), which takes less time than PyTorch's libraries do
    for the bare product; where gradients are recorded, activation and shortcut follow it. All other cases (devices,
    types, exported files, function transforms, modes that watch operators) are plain PyTorch.

    Args:
        x: rows ``(N, in_channels)``, or a pair of them whose channels alternate, :math:`x_0, y_0, x_1, y_1, \ldots`, as
            if they had been interleaved.
        weight: ``(out_channels, in_channels / groups)``; a pair counts with the channels of both.
        bias: ``(out_channels,)``.
        act: activation that follows.
        groups: number of independent groups of channels.
        scale: factor of every output, ``(out_channels,)``; a batch norm leaves one.
        shortcut: rows added at the end, ``(N, out_channels)``, or what broadcasts to them.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.product import product
        >>> product(torch.ones(2, 4), torch.ones(3, 4), act=torch.nn.ReLU())
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """
    act = IDENTITY if act is None else act
    rows = x if isinstance(x, tuple) else (x,)
    if not has_kernel(rows, weight, groups):
        out = act(plain_product(rows, weight, bias, groups, scale))
    elif _records(*rows, weight, bias, scale, shortcut):
        weight = weight if scale is None else weight * scale.unsqueeze(1)
        out = act(_record(rows, weight, bias, groups))
    elif (name := kernel_name(act)) is not None and _is_whole(shortcut, rows[0].size(0), weight.size(0)):
        return _multiply(rows, weight, bias, scale, groups, name, shortcut)
    else:
        out = act(_multiply(rows, weight, bias, scale, groups))
    return out if shortcut is None else shortcut + out


def _record(rows: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """The product with what gradients need, where rows that can be made again are not kept for them."""
    out = _Product.apply(*(*rows, None)[:2], weight, bias, groups)
    for number, part in enumerate(rows):
        save_recipe(part, out, "tensors", number)
    return out


def _multiply(
    rows: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    groups: int = 1,
    act: str = "none",
    shortcut: Tensor | None = None,
) -> Tensor:
    kernel = _product_operator if torch.compiler.is_compiling() else native.linear
    return kernel(rows[0], rows[1] if len(rows) == 2 else None, weight, bias, scale, groups, act, shortcut)


def convolve(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, act: nn.Module | None = None) -> Tensor:
    """A convolution with the settings of ``conv`` but other weights, and the activation, in place where that can be.

    Args:
        x: maps ``(B, C, H, W)``.
        conv: the layer whose stride, padding and groups hold.
        weight: as that of ``conv``.
        bias: ``(out_channels,)``.
        act: activation that follows.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.product import convolve
        >>> conv = torch.nn.Conv2d(1, 1, 1)
        >>> convolve(torch.ones(1, 1, 1, 1), conv, -torch.ones(1, 1, 1, 1), None, torch.nn.ReLU()).item()
        0.0
    """
    act = IDENTITY if act is None else act
    out, name = conv._conv_forward(x, weight, bias), kernel_name(act)
    if name is None or name == "none" or not is_served(out, weight) or _records(x, weight, bias):
        return act(out)
    if torch.compiler.is_compiling():
        return _activate_operator(out, name)
    return native.activate_(out, name) if _is_dense(out) else act(out)


def _is_whole(shortcut: Tensor | None, rows: int, channels: int) -> bool:
    return shortcut is None or shortcut.shape == (rows, channels)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _records(*parts: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts)


def has_kernel(rows: tuple[Tensor, ...], weight: Tensor, groups: int = 1) -> bool:
    """Whether the kernel in C multiplies these, right now: float32 on a CPU, and nobody needs to look inside."""
    if any(part.dim() != 2 for part in rows):
        return False
    channels = rows[0].size(1)
    fits = channels % groups == 0 and len(rows) * channels == groups * weight.size(1)
    return fits and is_served(*rows, weight)


def is_served(*tensors: Tensor) -> bool:
    """Whether kernels in C take these, the last of which is a weight: plain tensors of float32 on a CPU.

    Inside a compiled region they take them as operators; not where anything else transforms or watches what happens.
    """
    if any(x.dtype is not torch.float32 or x.device.type != "cpu" for x in tensors) or torch.is_autocast_enabled("cpu"):
        return False
    return is_untransformed(*tensors) if torch.compiler.is_compiling() else are_plain(*tensors) and native.may_run()


def _product(
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    groups: int,
    act: str,
    shortcut: Tensor | None,
) -> Tensor:
    if x.numel() and native.serves(x):
        return native.linear(x, y, weight, bias, scale, groups, act, shortcut)
    out = _activate(plain_product((x,) if y is None else (x, y), weight, bias, groups, scale), act)
    return out if shortcut is None else shortcut + out


def _activate(x: Tensor, act: str) -> Tensor:
    if native.serves(x) and _is_dense(x):
        return native.activate_(x.clone(), act)
    return x.clone() if act == "none" else activate(x, act)  # an operator returns none of its inputs


_product_operator, _activate_operator = operator(_product, "product"), operator(_activate, "activate")  # for compilers


@torch.library.register_fake("pyg_vig::product")
def _(x: Tensor, y: Tensor | None, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0))


@torch.library.register_fake("pyg_vig::activate")
def _(x: Tensor, act: str) -> Tensor:
    return torch.empty_like(x)


class _Product(torch.autograd.Function):
    """The product that gradients pass. Its backward, made of differentiable products, has one of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        ctx.save_for_backward(x, y, weight)
        ctx.groups = groups
        return _multiply((x,) if y is None else (x, y), weight, bias, groups=groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, y, weight), groups, wanted = ctx.saved_tensors, ctx.groups, ctx.needs_input_grad
        rows = (x,) if y is None else (x, y)
        grad_weight = _weight_gradient(grad, rows, groups) if wanted[2] else None
        of_rows = weight.view(groups, weight.size(0) // groups, -1, len(rows)).unbind(3)  # (G, out / G, in / G)
        del x, y, rows  # made again for the weight, perhaps: they need not wait for what follows
        grad_x, grad_y = (
            product(grad, part.mT.flatten(0, 1), groups=groups) if needed else None
            for part, needed in zip((*of_rows, None)[:2], wanted, strict=False)
        )
        return grad_x, grad_y, grad_weight, grad.sum(0) if wanted[3] else None, None


def _weight_gradient(grad: Tensor, rows: tuple[Tensor, ...], groups: int) -> Tensor:
    """Of every group the product of gradient and rows; the columns of a pair alternate."""
    grads = grad.unflatten(1, (groups, -1)).permute(1, 2, 0)  # (G, out / G, N)
    parts = [torch.bmm(grads, part.unflatten(1, (groups, -1)).transpose(0, 1)) for part in rows]
    return torch.stack(parts, dim=-1).flatten(2).flatten(0, 1) if len(parts) == 2 else parts[0].flatten(0, 1)
