"""Reductions over neighbours as operators that compilers and exporters support.

A graph is given by ``src``, the source row of every edge, ordered by destination, and ``ptr``, the first edge of every
destination; without ``ptr``, every destination has ``E / num_dst`` edges. Each operator runs as a Triton kernel where
:func:`pyg_vig.triton_kernels.is_supported` allows it, and in plain PyTorch elsewhere; on CPUs the maximum is a C
kernel (:func:`pyg_vig.native.is_supported`). Sums, reversed sums and inner products are each other's derivatives, to
any order.

:mod:`pyg_vig.graph.reduce` uses these operators on GPUs; on CPUs it has faster sums and products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_vig import native, triton_kernels
from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import register_operator


def gather_max(
    x: Tensor,
    src: Tensor,
    ptr: Tensor | None,
    num_dst: int,
    return_argmax: bool = True,
    index_dtype: torch.dtype = torch.int32,
) -> tuple[Tensor, Tensor]:
    """:func:`neighbor_max` without gradients and without the dispatcher's overhead of a few microseconds.

    The source rows of the maxima have the dtype ``index_dtype``.
    """
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels import reduce as kernels

        return kernels.gather_max(x.contiguous(), src.contiguous(), ptr, num_dst, return_argmax, index_dtype)
    upcast = at_least_float32(x) if x.device.type == "cpu" else x
    if native.is_supported(upcast):
        maximum, argmax = native.gather_max(upcast, src, ptr, num_dst, return_argmax, index_dtype)
        return maximum.to(x.dtype), argmax
    dst = destinations(src, ptr, num_dst)
    rows, index = x.index_select(0, src), dst.unsqueeze(1).expand(-1, x.size(1))
    maximum = x.new_zeros(num_dst, x.size(1)).scatter_reduce(0, index, rows, "amax", include_self=False)
    edges = torch.arange(src.numel(), device=x.device).unsqueeze(1)
    is_max = (rows == maximum.index_select(0, dst)) | rows.isnan()
    no_edge = torch.full_like(maximum, src.numel(), dtype=torch.int64)
    first_edge = no_edge.scatter_reduce(0, index, torch.where(is_max, edges, src.numel()), "amin")
    return maximum, torch.cat([src, src.new_full((1,), -1)])[first_edge][: num_dst if return_argmax else 0].to(
        index_dtype
    )


@register_operator
def neighbor_max(
    x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, return_argmax: bool
) -> tuple[Tensor, Tensor]:
    """Maximum over the neighbours ``(N_dst, C)``, and the source row of each maximum, ``(N_dst, C)`` int32.

    Without neighbours, they are zero and -1. Ties go to the first neighbour. Without ``return_argmax`` the second
    result is empty.
    """
    return gather_max(x, src, ptr, num_dst, return_argmax)


@torch.library.register_fake("pyg_vig::neighbor_max")
def _(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, return_argmax: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(num_dst, x.size(1)), x.new_empty(num_dst if return_argmax else 0, x.size(1), dtype=torch.int32)


def _setup_max(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, src, ptr, *_ = inputs
    ctx.save_for_backward(output[1], src, ptr)
    ctx.num_src = x.size(0)


def _max_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    argmax, src, ptr = ctx.saved_tensors
    return scatter_to_argmax(grad, argmax, src, ptr, ctx.num_src), None, None, None, None


torch.library.register_autograd("pyg_vig::neighbor_max", _max_backward, setup_context=_setup_max)


class NeighborMax(torch.autograd.Function):
    """:func:`neighbor_max` outside compiled regions; saves the argmax for the backward pass, and no edges on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int) -> Tensor:
        index_dtype = torch.int16 if x.size(0) <= torch.iinfo(torch.int16).max else torch.int32
        maximum, argmax = gather_max(x, src, ptr, num_dst, index_dtype=index_dtype)
        edges = (src, ptr) if triton_kernels.is_supported(x) else (None, None)  # for deterministic gradients
        ctx.save_for_backward(argmax, *edges)
        ctx.num_src = x.size(0)
        return maximum

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return scatter_to_argmax(grad, *ctx.saved_tensors, ctx.num_src), None, None, None


@register_operator
def scatter_to_argmax(grad: Tensor, argmax: Tensor, src: Tensor | None, ptr: Tensor | None, num_src: int) -> Tensor:
    """Backward pass of the maximum: add every gradient entry to its winning row, ``(N_dst, C) -> (N_src, C)``.

    On GPUs this uses atomic additions, whose order, and so rounding, varies. With
    :func:`torch.use_deterministic_algorithms` it adds in a fixed order, at several times the cost.
    """
    if triton_kernels.is_supported(grad):
        from pyg_vig.triton_kernels import reduce as kernels

        if src is None or not torch.are_deterministic_algorithms_enabled():
            return kernels.scatter_to_argmax(grad.contiguous(), argmax, num_src)
        dst, reversed_ptr, _ = sort_by_source(src, ptr, grad.size(0), num_src)
        return kernels.scatter_to_argmax_deterministic(grad.contiguous(), argmax, dst, reversed_ptr)
    upcast = at_least_float32(grad)
    if native.is_supported(upcast):
        return native.scatter_to_argmax(upcast, argmax, num_src).to(grad.dtype)
    upcast = upcast.masked_fill(argmax < 0, 0)
    out = upcast.new_zeros(num_src, grad.size(1))
    return out.scatter_add(0, argmax.long().clamp(min=0), upcast).to(grad.dtype) if num_src else out.to(grad.dtype)


@torch.library.register_fake("pyg_vig::scatter_to_argmax")
def _(grad: Tensor, argmax: Tensor, src: Tensor | None, ptr: Tensor | None, num_src: int) -> Tensor:
    return grad.new_empty(num_src, grad.size(1))


def _setup_scatter(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _scatter_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    (argmax,) = ctx.saved_tensors
    gathered = grad.gather(0, argmax.long().clamp(min=0)).masked_fill(argmax < 0, 0)
    return gathered, None, None, None, None


torch.library.register_autograd("pyg_vig::scatter_to_argmax", _scatter_backward, setup_context=_setup_scatter)


@register_operator
def neighbor_sum(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    """Sum over the neighbours ``(N_dst, C)``; each of the ``H`` columns of ``weight`` scales ``C / H`` channels."""
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels.reduce import weighted_sum

        return weighted_sum(
            x.contiguous(), src.contiguous(), ptr, num_dst, None if weight is None else weight.contiguous()
        )
    return sum_fallback(x, src, ptr, num_dst, weight)


def sum_fallback(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    """:func:`neighbor_sum` in plain PyTorch, which function transforms and tracing support."""
    return _index_add(destinations(src, ptr, num_dst), x.index_select(0, src), weight, num_dst)


@torch.library.register_fake("pyg_vig::neighbor_sum")
def _(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    return x.new_empty(num_dst, x.size(1))


def _setup_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save rows, graph and weights, for both sums."""
    x, src, ptr, _, weight = inputs
    ctx.save_for_backward(x if weight is not None else None, src, ptr, weight)
    ctx.num_rows = x.size(0)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (x, src, ptr, weight), needs_grad = ctx.saved_tensors, ctx.needs_input_grad
    grad_x = reversed_sum(grad, src, ptr, ctx.num_rows, weight) if needs_grad[0] else None
    grad_weight = neighbor_dot(grad, x, src, ptr, weight.size(1)).to(weight.dtype) if needs_grad[4] else None
    return grad_x, None, None, None, grad_weight


torch.library.register_autograd("pyg_vig::neighbor_sum", _sum_backward, setup_context=_setup_sum)


@register_operator
def reversed_sum(y: Tensor, src: Tensor, ptr: Tensor | None, num_src: int, weight: Tensor | None) -> Tensor:
    """Sum along the reversed edges, from destinations to sources: ``(N_dst, C) -> (N_src, C)``."""
    if triton_kernels.is_supported(y):
        from pyg_vig.triton_kernels.reduce import weighted_sum

        dst, reversed_ptr, order = sort_by_source(src, ptr, y.size(0), num_src)
        ordered = None if weight is None else weight.index_select(0, order)
        return weighted_sum(y.contiguous(), dst, reversed_ptr, num_src, ordered)
    return _index_add(src, y.index_select(0, destinations(src, ptr, y.size(0))), weight, num_src)


@torch.library.register_fake("pyg_vig::reversed_sum")
def _(y: Tensor, src: Tensor, ptr: Tensor | None, num_src: int, weight: Tensor | None) -> Tensor:
    return y.new_empty(num_src, y.size(1))


def _reversed_sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (y, src, ptr, weight), needs_grad = ctx.saved_tensors, ctx.needs_input_grad
    grad_y = neighbor_sum(grad, src, ptr, ctx.num_rows, weight) if needs_grad[0] else None
    grad_weight = neighbor_dot(y, grad, src, ptr, weight.size(1)).to(weight.dtype) if needs_grad[4] else None
    return grad_y, None, None, None, grad_weight


torch.library.register_autograd("pyg_vig::reversed_sum", _reversed_sum_backward, setup_context=_setup_sum)


@register_operator
def neighbor_dot(y: Tensor, x: Tensor, src: Tensor, ptr: Tensor | None, heads: int) -> Tensor:
    """Inner products of every destination's row of ``y`` with its neighbours' rows of ``x``, by head: ``(E, H)``."""
    if triton_kernels.is_supported(y):
        from pyg_vig.triton_kernels.reduce import inner_products

        return inner_products(y.contiguous(), x.contiguous(), src.contiguous(), ptr, heads)
    left, right = y.index_select(0, destinations(src, ptr, y.size(0))), x.index_select(0, src)
    return (at_least_float32(left) * at_least_float32(right)).unflatten(1, (heads, -1)).sum(-1).to(y.dtype)


@torch.library.register_fake("pyg_vig::neighbor_dot")
def _(y: Tensor, x: Tensor, src: Tensor, ptr: Tensor | None, heads: int) -> Tensor:
    return y.new_empty(src.size(0), heads)


def _setup_dot(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _dot_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (y, x, src, ptr), needs_grad = ctx.saved_tensors, ctx.needs_input_grad
    grad_y = neighbor_sum(x, src, ptr, y.size(0), grad).to(y.dtype) if needs_grad[0] else None
    grad_x = reversed_sum(y, src, ptr, x.size(0), grad).to(x.dtype) if needs_grad[1] else None
    return grad_y, grad_x, None, None, None


torch.library.register_autograd("pyg_vig::neighbor_dot", _dot_backward, setup_context=_setup_dot)


def destinations(src: Tensor, ptr: Tensor | None, num_dst: int) -> Tensor:
    """Return the destination of every edge, ``(E,)``."""
    degree = src.numel() // max(num_dst, 1) if ptr is None else ptr.diff()
    return torch.arange(num_dst, device=src.device).repeat_interleave(degree, output_size=src.numel())


def sort_by_source(src: Tensor, ptr: Tensor | None, num_dst: int, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the edges by source; return their destinations, the row pointers of the sources, and the permutation."""
    sources, order = src.sort(stable=True)
    reversed_ptr = torch.searchsorted(sources, torch.arange(num_src + 1, device=src.device))
    return destinations(src, ptr, num_dst).index_select(0, order), reversed_ptr, order


def _index_add(index: Tensor, rows: Tensor, weight: Tensor | None, size: int) -> Tensor:
    upcast = at_least_float32(rows)
    if weight is not None:
        upcast = (upcast.unflatten(1, (weight.size(1), -1)) * weight.unsqueeze(-1)).flatten(1).to(upcast.dtype)
    return upcast.new_zeros(size, rows.size(1)).index_add(0, index, upcast).to(rows.dtype)
