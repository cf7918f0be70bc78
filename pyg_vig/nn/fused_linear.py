"""Linear layers fused with what follows them, and convolutions fused with their activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig import native
from pyg_vig.kernels import are_plain_tensors, is_untransformed, register_operator
from pyg_vig.nn.activation import activate, kernel_name
from pyg_vig.nn.linear_fallback import linear_fallback
from pyg_vig.nn.rematerialize import save_recipe

IDENTITY = nn.Identity()  # shared by all layers without an activation


def fused_linear(
    x: Tensor | tuple[Tensor, Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    act: nn.Module | None = None,
    *,
    groups: int = 1,
    scale: Tensor | None = None,
    shortcut: Tensor | None = None,
) -> Tensor:
    r"""Linear layer with scale, bias, activation and shortcut, :math:`\sigma(s \odot X W^\top + b) + R`.

    In float32 on a CPU this is a single C kernel (:mod:`pyg_vig.native`), which takes less time than PyTorch does for
    the bare product; if gradients are recorded, activation and shortcut are applied after it. All other cases (devices,
    dtypes, exported files, function transforms, dispatch modes) use plain PyTorch operations.

    Args:
        x: input rows ``(N, in_channels)``, or a pair of matrices of equal shape, whose channels are treated as
            interleaved: :math:`x_0, y_0, x_1, y_1, \ldots`
        weight: ``(out_channels, in_channels / groups)``; for a pair, ``in_channels`` counts the channels of both.
        bias: ``(out_channels,)``.
        act: activation.
        groups: number of independent channel groups.
        scale: factor of every output channel, ``(out_channels,)``, as a folded batch norm yields it.
        shortcut: added after the activation, ``(N, out_channels)`` or broadcastable to that shape.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.fused_linear import fused_linear
        >>> fused_linear(torch.ones(2, 4), torch.ones(3, 4), act=torch.nn.ReLU())
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """
    act = IDENTITY if act is None else act
    inputs = x if isinstance(x, tuple) else (x,)
    if not can_use_linear_kernel(inputs, weight, groups):
        out = act(linear_fallback(inputs, weight, bias, groups, scale))
    elif _needs_grad(*inputs, weight, bias, scale, shortcut):
        weight = weight if scale is None else weight * scale.unsqueeze(1)
        out = act(_linear_with_gradient(inputs, weight, bias, groups))
    elif (name := kernel_name(act)) is not None and _has_full_shape(shortcut, inputs[0].size(0), weight.size(0)):
        return _call_kernel(inputs, weight, bias, scale, groups, name, shortcut)
    else:
        out = act(_call_kernel(inputs, weight, bias, scale, groups))
    return out if shortcut is None else shortcut + out


def _linear_with_gradient(inputs: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """The linear layer with gradients recorded; inputs that can be recomputed are not stored for the backward pass."""
    out = _FusedLinear.apply(*(*inputs, None)[:2], weight, bias, groups)
    for index, rows in enumerate(inputs):
        save_recipe(rows, out, "tensors", index)
    return out


def _call_kernel(
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
    groups: int = 1,
    act: str = "none",
    shortcut: Tensor | None = None,
) -> Tensor:
    kernel = _linear_operator if torch.compiler.is_compiling() else native.linear
    return kernel(inputs[0], inputs[1] if len(inputs) == 2 else None, weight, bias, scale, groups, act, shortcut)


def fused_conv2d(
    x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, act: nn.Module | None = None
) -> Tensor:
    """Apply a convolution with the settings of ``conv`` but other weights, then the activation, in place if possible.

    Args:
        x: feature maps ``(B, C, H, W)``.
        conv: layer that defines stride, padding and groups.
        weight: of the same shape as ``conv.weight``.
        bias: ``(out_channels,)``.
        act: activation.

    Example:
        >>> import torch
        >>> from pyg_vig.nn.fused_linear import fused_conv2d
        >>> conv = torch.nn.Conv2d(1, 1, 1)
        >>> fused_conv2d(torch.ones(1, 1, 1, 1), conv, -torch.ones(1, 1, 1, 1), None, torch.nn.ReLU()).item()
        0.0
    """
    act = IDENTITY if act is None else act
    out, name = conv._conv_forward(x, weight, bias), kernel_name(act)
    if name is None or name == "none" or not can_use_kernels(out, weight) or _needs_grad(x, weight, bias):
        return act(out)
    if torch.compiler.is_compiling():
        return _activate_operator(out, name)
    return native.activate_(out, name) if _is_dense(out) else act(out)


def _has_full_shape(shortcut: Tensor | None, rows: int, channels: int) -> bool:
    return shortcut is None or shortcut.shape == (rows, channels)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _needs_grad(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def can_use_linear_kernel(inputs: tuple[Tensor, ...], weight: Tensor, groups: int = 1) -> bool:
    """Whether the C kernel can compute this linear layer now: float32 on a CPU, and nothing intercepts operators."""
    if any(x.dim() != 2 for x in inputs):
        return False
    channels = inputs[0].size(1)
    shapes_match = channels % groups == 0 and len(inputs) * channels == groups * weight.size(1)
    return shapes_match and can_use_kernels(*inputs, weight)


def can_use_kernels(*tensors: Tensor) -> bool:
    """Whether the C kernels accept these tensors, the last of which is a weight: plain float32 tensors on a CPU.

    Inside a compiled region, the kernels are called as custom operators. They are not used if anything else transforms
    or intercepts operators.
    """
    if any(x.dtype is not torch.float32 or x.device.type != "cpu" for x in tensors) or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling():
        return is_untransformed(*tensors)
    return are_plain_tensors(*tensors) and native.is_available()


def _linear_impl(
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    groups: int,
    act: str,
    shortcut: Tensor | None,
) -> Tensor:
    if x.numel() and native.is_supported(x):
        return native.linear(x, y, weight, bias, scale, groups, act, shortcut)
    out = _activate_impl(linear_fallback((x,) if y is None else (x, y), weight, bias, groups, scale), act)
    return out if shortcut is None else shortcut + out


def _activate_impl(x: Tensor, act: str) -> Tensor:
    if native.is_supported(x) and _is_dense(x):
        return native.activate_(x.clone(), act)
    return x.clone() if act == "none" else activate(x, act)  # a custom operator must not return its input


# For compilers.
_linear_operator = register_operator(_linear_impl, "fused_linear")
_activate_operator = register_operator(_activate_impl, "activate")


@torch.library.register_fake("pyg_vig::fused_linear")
def _(x: Tensor, y: Tensor | None, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0))


@torch.library.register_fake("pyg_vig::activate")
def _(x: Tensor, act: str) -> Tensor:
    return torch.empty_like(x)


class _FusedLinear(torch.autograd.Function):
    """The layer with a backward pass, which consists of differentiable products, so it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        ctx.save_for_backward(x, y, weight)
        ctx.groups = groups
        return _call_kernel((x,) if y is None else (x, y), weight, bias, groups=groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, y, weight), groups, needs_grad = ctx.saved_tensors, ctx.groups, ctx.needs_input_grad
        inputs = (x,) if y is None else (x, y)
        grad_weight = _weight_gradient(grad, inputs, groups) if needs_grad[2] else None
        weights = weight.view(groups, weight.size(0) // groups, -1, len(inputs)).unbind(3)  # (G, out / G, in / G)
        del x, y, inputs  # perhaps recomputed for the weight gradient: free them before the next products
        grad_x, grad_y = (
            fused_linear(grad, part.mT.flatten(0, 1), groups=groups) if needed else None
            for part, needed in zip((*weights, None)[:2], needs_grad[:2], strict=True)
        )
        return grad_x, grad_y, grad_weight, grad.sum(0) if needs_grad[3] else None, None


def _weight_gradient(grad: Tensor, inputs: tuple[Tensor, ...], groups: int) -> Tensor:
    """Weight gradient: per group, output gradient times input rows; the columns of a pair are interleaved."""
    grads = grad.unflatten(1, (groups, -1)).permute(1, 2, 0)  # (G, out / G, N)
    parts = [torch.bmm(grads, x.unflatten(1, (groups, -1)).transpose(0, 1)) for x in inputs]
    return torch.stack(parts, dim=-1).flatten(2).flatten(0, 1) if len(parts) == 2 else parts[0].flatten(0, 1)
