"""The product of every linear layer, and convolutions with what follows, by the quickest of PyTorch's kernels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from pyg_vig.nn.remake import forget

_MKLDNN: Any = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None
# PyTorch's operators, where the build has them.
ONEDNN: Any = getattr(_MKLDNN, "_linear_pointwise", None)
ONEDNN_CONVOLUTION: Any = getattr(_MKLDNN, "_convolution_pointwise", None)
IDENTITY = nn.Identity()  # one for all layers without an activation
_ONEDNN_NAMES = {nn.Identity: "none", nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "swish", nn.Hardswish: "hardswish"}


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, act: nn.Module | None = None) -> Tensor:
    r"""Rows times weights and what follows, :math:`\sigma(X W^\top + b)`.

    ``F.linear`` asks the BLAS library for float32 on CPUs. oneDNN, which PyTorch also carries, takes a tenth to a third
    less time where that library is MKL and the processor AMD's, and applies the activation in the same pass where no
    gradient needs what is in between. All other cases (devices, types, exported files, function transforms) are
    ``F.linear``; so is this one inside ``torch.backends.mkldnn.flags(enabled=False)``.

    Args:
        x: ``(N, in_channels)``.
        weight: ``(out_channels, in_channels)``.
        bias: ``(out_channels,)``.
        act: activation that follows.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.product import product
        >>> product(torch.ones(2, 4), torch.ones(3, 4), act=torch.nn.ReLU())
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """
    act = IDENTITY if act is None else act
    if not has_onednn(x, weight):
        return act(F.linear(x, weight, bias))
    if _records(x, weight, bias):
        return act(forget(x, _OneDNNProduct.apply(x, weight, bias), "tensors"))
    if not _joins(act):
        return act(_onednn(x, weight, bias))
    return _onednn(x, weight, bias, _ONEDNN_NAMES[type(act)], getattr(act, "approximate", "none"))


def grouped_product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Products of groups of channels, side by side, where :func:`product` would record them one by one; else ``None``.

    Args:
        rows: the groups apart, ``(groups, N, in_channels / groups)``.
        weight: ``(out_channels, in_channels / groups)``.
        bias: ``(out_channels,)``.
    """
    if torch.compiler.is_compiling() or not (_records(rows, weight, bias) and has_onednn(rows[0], weight)):
        return None
    return forget(rows, _OneDNNProducts.apply(rows, weight, bias), "tensors")


def convolve(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, act: nn.Module | None = None) -> Tensor:
    """A convolution with the settings of ``conv`` but other weights, and the activation, in one pass where that can be.

    Args:
        x: maps ``(B, C, H, W)``.
        conv: the layer whose stride, padding and groups hold (its padding being zeros).
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
    fuses = _joins(act) and not isinstance(act, nn.Identity) and not isinstance(conv.padding, str)
    serves = ONEDNN_CONVOLUTION is not None and not torch.compiler.is_compiling() and _onednn_serves(x, weight)
    if not (fuses and serves) or _records(x, weight, bias):
        return act(conv._conv_forward(x, weight, bias))
    options = conv.padding, conv.stride, conv.dilation, conv.groups
    return ONEDNN_CONVOLUTION(
        x, weight, bias, *options, _ONEDNN_NAMES[type(act)], [], getattr(act, "approximate", "none")
    )


def _records(*parts: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts)


def _joins(act: nn.Module) -> bool:
    """Whether oneDNN can apply the activation, and nobody watches it."""
    return type(act) in _ONEDNN_NAMES and not act._forward_hooks and not act._forward_pre_hooks


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies these, right now: matrices of float32 on a CPU, and nobody needs to look inside."""
    return x.dim() == 2 and x.size(1) == weight.size(1) and ONEDNN is not None and _onednn_serves(x, weight)


def _onednn_serves(x: Tensor, weight: Tensor) -> bool:
    return bool(torch.backends.mkldnn.enabled) and is_plain(x, weight)


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
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, act: str = "none", approximate: str = "none") -> Tensor:
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # of strided weights oneDNN has no fast kernel: a thousand times the time
    multiply = torch.ops.pyg_vig.linear if torch.compiler.is_compiling() else ONEDNN
    return multiply(x, weight, bias, act, [], approximate)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, act: str, scalars: list[float], approximate: str) -> Tensor:
    if not x.numel():
        return x.new_zeros(x.size(0), weight.size(0))
    return ONEDNN(x, weight, bias, act, scalars, approximate)


# The same for compilers, which ask more of PyTorch's own operator than that the product be taken. (By hand, since
# `custom_op` adds tens of microseconds to a call.)
torch.library.define(
    "pyg_vig::linear", "(Tensor x, Tensor weight, Tensor? bias, str act, Scalar?[] scalars, str approximate) -> Tensor"
)
torch.library.impl("pyg_vig::linear", "CPU", _linear)


@torch.library.register_fake("pyg_vig::linear")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, act: str, scalars: list[float], approximate: str) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0))


class _OneDNNProduct(torch.autograd.Function):
    """Product that gradients pass; its backward is made of differentiable products, so that it has one of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
        grad_weight = grad.t() @ x if wanted[1] else None
        del x  # made again, it need not wait for what follows
        grad_x = product(grad, weight.t()) if wanted[0] else None
        return grad_x, grad_weight, grad.sum(0) if wanted[2] else None


class _OneDNNProducts(torch.autograd.Function):
    """The same of several groups of channels, which keep what they are made of as one matrix."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        groups = len(rows)
        biases = [None] * groups if bias is None else bias.chunk(groups)
        return torch.cat([_onednn(*part) for part in zip(rows, weight.chunk(groups), biases, strict=True)], dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
        grads, weights = grad.chunk(len(rows), dim=1), weight.chunk(len(rows))
        grad_weight = (
            torch.cat([part.t() @ other for part, other in zip(grads, rows, strict=True)]) if wanted[1] else None
        )
        del rows
        parts = [product(part, other.t()) for part, other in zip(grads, weights, strict=True)] if wanted[0] else []
        return torch.stack(parts) if parts else None, grad_weight, grad.sum(0) if wanted[2] else None


if ONEDNN_CONVOLUTION is not None and ONEDNN_CONVOLUTION not in flop_registry:

    @register_flop_formula(ONEDNN_CONVOLUTION)
    def _convolution_flops(x_shape: Any, weight_shape: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        return 2 * out_shape[0] * out_shape[2:].numel() * weight_shape.numel()


if ONEDNN is not None and ONEDNN not in flop_registry:

    @register_flop_formula(ONEDNN)
    def _flops(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
        """Two for a multiply-add, as all formulas of :mod:`torch.utils.flop_counter`."""
        return 2 * x_shape.numel() * weight_shape[0]
