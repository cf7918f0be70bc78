"""The product of every linear layer, by the quickest of PyTorch's kernels for it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

# PyTorch's operator, where the build has it.
ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_IDENTITY = nn.Identity()
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
    act = _IDENTITY if act is None else act
    if not has_onednn(x, weight):
        return act(F.linear(x, weight, bias))
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weight, bias)):
        return act(_OneDNNProduct.apply(x, weight, bias))
    if type(act) not in _ONEDNN_NAMES or act._forward_hooks or act._forward_pre_hooks:
        return act(_onednn(x, weight, bias))
    return _onednn(x, weight, bias, _ONEDNN_NAMES[type(act)], getattr(act, "approximate", "none"))


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies these, right now: matrices of float32 on a CPU, and nobody needs to look inside."""
    fits = x.dim() == 2 and x.size(1) == weight.size(1) and x.dtype == weight.dtype == torch.float32
    if not (fits and ONEDNN is not None and x.device.type == "cpu") or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    return (
        type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and bool(torch.backends.mkldnn.enabled)
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, act: str = "none", approximate: str = "none") -> Tensor:
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # of strided weights oneDNN has no fast kernel: a thousand times the time
    multiply = _opaque if torch.compiler.is_compiling() else ONEDNN
    return multiply(x, weight, bias, act, [], approximate)


@torch.library.custom_op("pyg_vig::linear", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, bias: Tensor | None, act: str, scalars: list[float], approximate: str) -> Tensor:
    """The same for compilers, which ask more of PyTorch's own operator than that the product be taken."""
    if not x.numel():
        return x.new_zeros(x.size(0), weight.size(0))
    return ONEDNN(x, weight, bias, act, scalars, approximate)


@_opaque.register_fake
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
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if wanted[0] else None,
            grad.t() @ x if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
        )


if ONEDNN is not None and ONEDNN not in flop_registry:

    @register_flop_formula(ONEDNN)
    def _flops(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
        """Two for a multiply-add, as all formulas of :mod:`torch.utils.flop_counter`."""
        return 2 * x_shape.numel() * weight_shape[0]
