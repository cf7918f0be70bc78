"""The product of every linear layer, and convolutions, with what stands around them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig import native

_MKLDNN: Any = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None
ONEDNN: Any = getattr(_MKLDNN, "_linear_pointwise", None)  # PyTorch's operator, where the build has it
IDENTITY = nn.Identity()  # one for all layers without an activation
_NATIVE_NAMES = {nn.Identity: "none", nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


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

    In inference, in float32 on a CPU, it is one kernel in C (:mod:`pyg_vig.native`). In training there, oneDNN
    multiplies, which takes a tenth to a third less time than PyTorch's BLAS library where that is MKL and the processor
    AMD's. All other cases (devices, types, exported files, function transforms, modes that watch operators) are plain
    PyTorch.

    Args:
        x: rows ``(N, in_channels)``, or a pair of them whose channels alternate, :math:`x_0, y_0, x_1, y_1, \ldots`, as
            if they had been interleaved.
        weight: ``(out_channels, in_channels / groups)``; a pair counts with the channels of both.
        bias: ``(out_channels,)``.
        act: activation that follows.
        groups: number of independent groups of channels.
        scale: factor of every output, ``(out_channels,)``; a batch norm leaves one.
        shortcut: rows added at the end, ``(N, out_channels)``.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.product import product
        >>> product(torch.ones(2, 4), torch.ones(3, 4), act=torch.nn.ReLU())
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """
    act = IDENTITY if act is None else act
    rows = x if isinstance(x, tuple) else (x,)
    if not has_kernel(rows, weight, groups) or _records(*rows, weight, bias, scale, shortcut):
        out = act(_plainly(rows, weight, bias, groups, scale))
        return out if shortcut is None else shortcut + out
    name, other = _native_name(act), None if len(rows) == 1 else rows[1]
    multiply = torch.ops.pyg_vig.product if torch.compiler.is_compiling() else native.linear
    if name is not None:
        return multiply(rows[0], other, weight, bias, scale, groups, name, shortcut)
    out = act(multiply(rows[0], other, weight, bias, scale, groups, "none", None))
    return out if shortcut is None else shortcut + out


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
    out, name = conv._conv_forward(x, weight, bias), _native_name(act)
    if name is None or name == "none" or not _kernel_serves(out, weight) or _records(x, weight, bias):
        return act(out)
    if torch.compiler.is_compiling():
        return torch.ops.pyg_vig.activate(out, name)
    return native.activate_(out, name) if _is_dense(out) else act(out)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _records(*parts: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts)


def _native_name(act: nn.Module) -> str | None:
    """The activation's name in C, if it has one and nobody watches it."""
    watched = act._forward_hooks or act._forward_pre_hooks or getattr(act, "approximate", "none") != "none"
    return None if watched else _NATIVE_NAMES.get(type(act))


def has_kernel(rows: tuple[Tensor, ...], weight: Tensor, groups: int = 1) -> bool:
    """Whether the kernel in C multiplies these, right now, if no gradients are recorded."""
    fits = all(part.dim() == 2 for part in rows) and len(rows) * rows[0].size(1) == groups * weight.size(1)
    return fits and _kernel_serves(rows[0], weight) and is_plain(rows[-1], weight)


def _kernel_serves(x: Tensor, weight: Tensor) -> bool:
    return is_plain(x, weight) and (torch.compiler.is_compiling() or native.serves(x))


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies these, right now: matrices of float32 on a CPU, and nobody needs to look inside."""
    fits = x.dim() == 2 and x.size(1) == weight.size(1)
    return fits and ONEDNN is not None and bool(torch.backends.mkldnn.enabled) and is_plain(x, weight)


def is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether these are ordinary tensors of float32 on a CPU, and nothing transforms what happens to them."""
    if x.device.type != "cpu" or not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    return (
        type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and not torch.jit.is_tracing()
        and not torch._C._len_torch_dispatch_stack()  # a mode that watches operators, such as a counter of FLOPs
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def _plainly(
    rows: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, groups: int, scale: Tensor | None
) -> Tensor:
    if scale is not None:
        weight = weight * scale.unsqueeze(1)
    if len(rows) == 1:
        return _in_groups(rows[0], weight, bias, groups)
    x, y = rows
    if weight.size(1) % 2:  # a group of odd width shares no pair evenly
        return _in_groups(torch.stack([x, y], dim=-1).flatten(1), weight, bias, groups)
    # Interleaving the rows is slow: the columns of the weight are reordered, and the rows joined in blocks.
    pairs = torch.cat([_apart(x, groups), _apart(y, groups)], dim=2)
    return _in_groups(pairs, weight.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1), bias, groups)


def _in_groups(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Of rows ``(N, in_channels)``, or with the groups of their channels apart, ``(groups, N, in_channels / groups)``."""
    if groups == 1:
        return _multiply(x.squeeze(0) if x.dim() == 3 else x, weight, bias)
    rows = x if x.dim() == 3 else _apart(x, groups)
    parts, weights = rows.unbind(), weight.view(groups, -1, weight.size(1))
    if has_onednn(parts[0], weight):
        biases = [None] * groups if bias is None else bias.chunk(groups)
        return torch.cat([_multiply(*part) for part in zip(parts, weights, biases, strict=True)], dim=1)
    weights = weights.mT  # (G, in / G, out / G)
    out = torch.bmm(rows, weights) if bias is None else torch.baddbmm(bias.view(groups, 1, -1), rows, weights)
    return out.transpose(0, 1).flatten(1)


def _apart(x: Tensor, groups: int) -> Tensor:
    """The channels of every group on their own, ``(N, C) -> (groups, N, C / groups)``."""
    return x.unflatten(1, (groups, -1)).transpose(0, 1)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not has_onednn(x, weight):
        return F.linear(x, weight, bias)
    return _OneDNNProduct.apply(x, weight, bias) if _records(x, weight, bias) else _onednn(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # of strided weights oneDNN has no fast kernel: a thousand times the time
    if torch.compiler.is_compiling():
        return torch.ops.pyg_vig.linear(x, weight, bias)
    return ONEDNN(x, weight, bias, "none", [], "none")


# The same for compilers, which ask more of PyTorch's own operator than that the product be taken, and the kernels, which
# they hold as operators. (By hand, since `custom_op` adds tens of microseconds to a call.)
torch.library.define("pyg_vig::linear", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
torch.library.define(
    "pyg_vig::product",
    "(Tensor x, Tensor? y, Tensor weight, Tensor? bias, Tensor? scale, SymInt groups, str act, Tensor? shortcut) -> Tensor",
)
torch.library.define("pyg_vig::activate", "(Tensor x, str act) -> Tensor")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _onednn(x, weight, bias) if x.numel() else x.new_zeros(x.size(0), weight.size(0))


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
    out = _activate(_plainly((x,) if y is None else (x, y), weight, bias, groups, scale), act)
    return out if shortcut is None else shortcut + out


def _activate(x: Tensor, act: str) -> Tensor:
    if native.serves(x) and _is_dense(x):
        return native.activate_(x.clone(), act)
    return x.clone() if act == "none" else getattr(F, act)(x)


torch.library.impl("pyg_vig::linear", "CPU", _linear)
torch.library.impl("pyg_vig::product", "CPU", _product)
torch.library.impl("pyg_vig::activate", "CPU", _activate)


@torch.library.register_fake("pyg_vig::linear")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0))


@torch.library.register_fake("pyg_vig::product")
def _(x: Tensor, y: Tensor | None, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0))


@torch.library.register_fake("pyg_vig::activate")
def _(x: Tensor, act: str) -> Tensor:
    return torch.empty_like(x)


class _OneDNNProduct(torch.autograd.Function):
    """Product that gradients pass; its backward is made of differentiable products, so that it has one of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _multiply(grad, weight.t(), None) if wanted[0] else None,
            grad.t() @ x if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
        )
