"""Reductions over neighbours as operators that compilers and exporters support.

A graph is given by ``src``, the source row of every edge, ordered by destination, and ``ptr``, the first edge of every
destination; without ``ptr``, every destination has ``E / num_dst`` edges. Each operator runs as a Triton kernel where
:func:`pyg_vig.triton_kernels.is_supported` allows it, and in plain PyTorch elsewhere; on CPUs the maximum is a C kernel
(:func:`pyg_vig.native.is_supported`). Sums, reversed sums and inner products are each other's derivatives, to any order.

:mod:`pyg_vig.graph.reduce` uses these operators on GPUs; on CPUs it has faster sums and products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_vig import native, triton_kernels
from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import register_operator


def largest(
    x: Tensor,
    src: Tensor,
    ptr: Tensor | None,
    num_dst: int,
    winners: bool = True,
    index_dtype: torch.dtype = torch.int32,
) -> tuple[Tensor, Tensor]:
    """:func:`neighbor_max` without gradients and without the dispatcher's overhead of a few microseconds.

    The source rows of the maxima have the dtype ``index_dtype``.
    """
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels import reduce as kernels

        return kernels.largest(x.contiguous(), src.contiguous(), ptr, num_dst, winners, index_dtype)
    wide = at_least_float32(x) if x.device.type == "cpu" else x
    if native.is_supported(wide):
        best, winner = native.largest(wide, src, ptr, num_dst, winners, index_dtype)
        return best.to(x.dtype), winner
    dst = destinations(src, ptr, num_dst)
    rows, place = x.index_select(0, src), dst.unsqueeze(1).expand(-1, x.size(1))
    best = x.new_zeros(num_dst, x.size(1)).scatter_reduce(0, place, rows, "amax", include_self=False)
    edges = torch.arange(src.numel(), device=x.device).unsqueeze(1)
    wins = (rows == best.index_select(0, dst)) | rows.isnan()
    none = torch.full_like(best, src.numel(), dtype=torch.int64)
    first = none.scatter_reduce(0, place, torch.where(wins, edges, src.numel()), "amin")
    return best, torch.cat([src, src.new_full((1,), -1)])[first][: num_dst if winners else 0].to(index_dtype)


@register_operator
def neighbor_max(
    x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, winners: bool = True
) -> tuple[Tensor, Tensor]:
    """Maximum over the neighbours ``(N_dst, C)``, and the source row of each maximum, ``(N_dst, C)`` int32.

    Without neighbours, they are zero and -1. Ties go to the first neighbour. Without ``winners`` the second result is
    empty.
    """
    return largest(x, src, ptr, num_dst, winners)


@torch.library.register_fake("pyg_vig::neighbor_max")
def _(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, winners: bool = True) -> tuple[Tensor, Tensor]:
    return x.new_empty(num_dst, x.size(1)), x.new_empty(num_dst if winners else 0, x.size(1), dtype=torch.int32)


def _setup_max(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, src, ptr, *_ = inputs
    ctx.save_for_backward(output[1], src, ptr)
    ctx.num_src = x.size(0)


def _max_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    winner, src, ptr = ctx.saved_tensors
    return scatter_winners(grad, winner, src, ptr, ctx.num_src), None, None, None, None


torch.library.register_autograd("pyg_vig::neighbor_max", _max_backward, setup_context=_setup_max)


class NeighborMax(torch.autograd.Function):
    """:func:`neighbor_max` outside compiled regions; saves the winners for the backward pass, and no edges on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int) -> Tensor:
        index_dtype = torch.int16 if x.size(0) <= torch.iinfo(torch.int16).max else torch.int32
        best, winner = largest(x, src, ptr, num_dst, index_dtype=index_dtype)
        edges = (src, ptr) if triton_kernels.is_supported(x) else (None, None)  # for deterministic gradients
        ctx.save_for_backward(winner, *edges)
        ctx.num_src = x.size(0)
        return best

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return scatter_winners(grad, *ctx.saved_tensors, ctx.num_src), None, None, None


@register_operator
def scatter_winners(grad: Tensor, winner: Tensor, src: Tensor | None, ptr: Tensor | None, num_src: int) -> Tensor:
    """Backward pass of the maximum: add every gradient entry to its winning row, ``(N_dst, C) -> (N_src, C)``.

    On GPUs this uses atomic additions, whose order, and so rounding, varies. With
    :func:`torch.use_deterministic_algorithms` it adds in a fixed order, at several times the cost.
    """
    if triton_kernels.is_supported(grad):
        from pyg_vig.triton_kernels import reduce as kernels

        if src is None or not torch.are_deterministic_algorithms_enabled():
            return kernels.scatter_winners(grad.contiguous(), winner, num_src)
        dst, reversed_ptr, _ = by_source(src, ptr, grad.size(0), num_src)
        return kernels.gather_winners(grad.contiguous(), winner, dst, reversed_ptr)
    wide = at_least_float32(grad)
    if native.is_supported(wide):
        return native.scatter_winners(wide, winner, num_src).to(grad.dtype)
    wide = wide.masked_fill(winner < 0, 0)
    out = wide.new_zeros(num_src, grad.size(1))
    return out.scatter_add(0, winner.long().clamp(min=0), wide).to(grad.dtype) if num_src else out.to(grad.dtype)


@torch.library.register_fake("pyg_vig::scatter_winners")
def _(grad: Tensor, winner: Tensor, src: Tensor | None, ptr: Tensor | None, num_src: int) -> Tensor:
    return grad.new_empty(num_src, grad.size(1))


def _setup_scatter(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _scatter_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    (winner,) = ctx.saved_tensors
    taken = grad.gather(0, winner.long().clamp(min=0)).masked_fill(winner < 0, 0)
    return taken, None, None, None, None


torch.library.register_autograd("pyg_vig::scatter_winners", _scatter_backward, setup_context=_setup_scatter)


@register_operator
def neighbor_sum(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    """Sum over the neighbours ``(N_dst, C)``; each of the ``H`` columns of ``weight`` scales ``C / H`` channels."""
    if triton_kernels.is_supported(x):
        from pyg_vig.triton_kernels.reduce import weighted_sum

        return weighted_sum(
            x.contiguous(), src.contiguous(), ptr, num_dst, None if weight is None else weight.contiguous()
        )
    return plain_sum(x, src, ptr, num_dst, weight)


def plain_sum(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    """:func:`neighbor_sum` in plain PyTorch, which function transforms and tracing support."""
    return _add_at(destinations(src, ptr, num_dst), x.index_select(0, src), weight, num_dst)


@torch.library.register_fake("pyg_vig::neighbor_sum")
def _(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    return x.new_empty(num_dst, x.size(1))


def _setup_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save rows, graph and weights, for both sums."""
    x, src, ptr, _, weight = inputs
    ctx.save_for_backward(x if weight is not None else None, src, ptr, weight)
    ctx.num_rows = x.size(0)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (x, src, ptr, weight), wants = ctx.saved_tensors, ctx.needs_input_grad
    grad_x = reversed_sum(grad, src, ptr, ctx.num_rows, weight) if wants[0] else None
    grad_weight = neighbor_dot(grad, x, src, ptr, weight.size(1)).to(weight.dtype) if wants[4] else None
    return grad_x, None, None, None, grad_weight


torch.library.register_autograd("pyg_vig::neighbor_sum", _sum_backward, setup_context=_setup_sum)


@register_operator
def reversed_sum(y: Tensor, src: Tensor, ptr: Tensor | None, num_src: int, weight: Tensor | None) -> Tensor:
    """Sum along the reversed edges, from destinations to sources: ``(N_dst, C) -> (N_src, C)``."""
    if triton_kernels.is_supported(y):
        from pyg_vig.triton_kernels.reduce import weighted_sum

        dst, reversed_ptr, order = by_source(src, ptr, y.size(0), num_src)
        ordered = None if weight is None else weight.index_select(0, order)
        return weighted_sum(y.contiguous(), dst, reversed_ptr, num_src, ordered)
    return _add_at(src, y.index_select(0, destinations(src, ptr, y.size(0))), weight, num_src)


@torch.library.register_fake("pyg_vig::reversed_sum")
def _(y: Tensor, src: Tensor, ptr: Tensor | None, num_src: int, weight: Tensor | None) -> Tensor:
    return y.new_empty(num_src, y.size(1))


def _reversed_sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (y, src, ptr, weight), wants = ctx.saved_tensors, ctx.needs_input_grad
    grad_y = neighbor_sum(grad, src, ptr, ctx.num_rows, weight) if wants[0] else None
    grad_weight = neighbor_dot(y, grad, src, ptr, weight.size(1)).to(weight.dtype) if wants[4] else None
    return grad_y, None, None, None, grad_weight


torch.library.register_autograd("pyg_vig::reversed_sum", _reversed_sum_backward, setup_context=_setup_sum)


@register_operator
def neighbor_dot(y: Tensor, x: Tensor, src: Tensor, ptr: Tensor | None, heads: int) -> Tensor:
    """Inner products of every destination's row of ``y`` with its neighbours' rows of ``x``, by head: ``(E, H)``."""
    if triton_kernels.is_supported(y):
        from pyg_vig.triton_kernels.reduce import products

        return products(y.contiguous(), x.contiguous(), src.contiguous(), ptr, heads)
    left, right = y.index_select(0, destinations(src, ptr, y.size(0))), x.index_select(0, src)
    return (at_least_float32(left) * at_least_float32(right)).unflatten(1, (heads, -1)).sum(-1).to(y.dtype)


@torch.library.register_fake("pyg_vig::neighbor_dot")
def _(y: Tensor, x: Tensor, src: Tensor, ptr: Tensor | None, heads: int) -> Tensor:
    return y.new_empty(src.size(0), heads)


def _setup_dot(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _dot_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (y, x, src, ptr), wants = ctx.saved_tensors, ctx.needs_input_grad
    grad_y = neighbor_sum(x, src, ptr, y.size(0), grad).to(y.dtype) if wants[0] else None
    grad_x = reversed_sum(y, src, ptr, x.size(0), grad).to(x.dtype) if wants[1] else None
    return grad_y, grad_x, None, None, None


torch.library.register_autograd("pyg_vig::neighbor_dot", _dot_backward, setup_context=_setup_dot)


def destinations(src: Tensor, ptr: Tensor | None, num_dst: int) -> Tensor:
    """Return the destination of every edge, ``(E,)``."""
    degree = src.numel() // max(num_dst, 1) if ptr is None else ptr.diff()
    return torch.arange(num_dst, device=src.device).repeat_interleave(degree, output_size=src.numel())


def by_source(src: Tensor, ptr: Tensor | None, num_dst: int, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the edges by source; return their destinations, the row pointers of the sources, and the permutation."""
    sources, order = src.sort(stable=True)
    reversed_ptr = torch.searchsorted(sources, torch.arange(num_src + 1, device=src.device))
    return destinations(src, ptr, num_dst).index_select(0, order), reversed_ptr, order


def _add_at(place: Tensor, rows: Tensor, weight: Tensor | None, size: int) -> Tensor:
    wide = at_least_float32(rows)
    if weight is not None:
        wide = (wide.unflatten(1, (weight.size(1), -1)) * weight.unsqueeze(-1)).flatten(1).to(wide.dtype)
    return wide.new_zeros(size, rows.size(1)).index_add(0, place, wide).to(rows.dtype)
