"""Reductions of node rows over neighbours, without storing a row per edge.

A graph is given by ``src``, the source row of every edge, ordered by destination, and ``ptr``, the first edge of every
destination; without ``ptr``, every destination has the same number of edges. Each program reduces a tile of
destinations and channels, edge by edge, in a fixed order, so results do not vary from run to run (except those of
:func:`scatter_to_argmax`).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_vig.triton_kernels import on_input_device, tile_width
from pyg_vig.triton_kernels.launch import launch

_TILE = 1024  # entries of a program's tile: eight per thread, for high occupancy
_WARPS = 4
_MAX_TILE_ROWS = 16  # of a tile; with 32, Triton 3.6 fails to compile some kernels
_MAX_UNROLLED = 32  # most edges per destination for which the loop over edges is unrolled


@on_input_device
def gather_max(
    x: Tensor,
    src: Tensor,
    ptr: Tensor | None,
    num_dst: int,
    return_argmax: bool,
    index_dtype: torch.dtype = torch.int32,
) -> tuple[Tensor, Tensor]:
    """Maximum over the neighbours ``(N_dst, C)``, and the source row of each maximum, or -1 without neighbours."""
    out = x.new_empty(num_dst, x.size(1))
    argmax = x.new_empty(num_dst if return_argmax else 0, x.size(1), dtype=index_dtype)
    grid, tile = _tile_grid(num_dst, x.size(1))
    if out.numel():
        flags = (*_degree_flags(ptr, src, num_dst), return_argmax, _accumulator_type(x))
        tensors = x, src, _ptr_or_placeholder(ptr, src), out, argmax
        launch(_max_kernel, grid, tensors, _sizes(out, src), (*flags, *tile), _WARPS)
    return out, argmax


@on_input_device
def weighted_sum(x: Tensor, src: Tensor, ptr: Tensor | None, num_dst: int, weight: Tensor | None) -> Tensor:
    """Sum over the neighbours ``(N_dst, C)``; each of the ``H`` columns of ``weight`` scales ``C / H`` channels."""
    out = x.new_empty(num_dst, x.size(1))
    grid, tile = _tile_grid(num_dst, x.size(1))
    if out.numel():
        heads = 1 if weight is None else weight.size(1)
        scale = x if weight is None else weight
        sizes = (*_sizes(out, src), heads, x.size(1) // heads)
        flags = (*_degree_flags(ptr, src, num_dst), weight is not None, _accumulator_type(x))
        tensors = x, src, _ptr_or_placeholder(ptr, src), scale, out
        launch(_sum_kernel, grid, tensors, sizes, (*flags, *tile), _WARPS)
    return out


@on_input_device
def inner_products(y: Tensor, x: Tensor, src: Tensor, ptr: Tensor | None, heads: int) -> Tensor:
    """Inner products of every destination's row with its neighbours' rows, per head: ``(E, H)``."""
    out = y.new_empty(src.numel(), heads)
    width = y.size(1) // heads
    _, (rows, channels) = _tile_grid(y.size(0), width)
    if out.numel():
        sizes = (y.size(0), src.numel() // y.size(0), heads, width)
        grid = (-(-y.size(0) // rows), heads)
        flags = (*_degree_flags(ptr, src, y.size(0)), _accumulator_type(y))
        tensors = y, x, src, _ptr_or_placeholder(ptr, src), out
        launch(_dot_kernel, grid, tensors, sizes, (*flags, rows, channels), _WARPS)
    return out


@on_input_device
def scatter_to_argmax(grad: Tensor, argmax: Tensor, num_src: int) -> Tensor:
    """Add every gradient entry to its winning row, by atomic additions in any order."""
    out = grad.new_zeros(num_src, grad.size(1), dtype=_accumulator_dtype(grad))
    grid, tile = _tile_grid(*grad.shape)
    if grad.numel():
        launch(_scatter_kernel, grid, (grad, argmax, out), grad.shape, tile, _WARPS)
    return out.to(grad.dtype)


@on_input_device
def scatter_to_argmax_deterministic(grad: Tensor, argmax: Tensor, dst: Tensor, ptr: Tensor) -> Tensor:
    """:func:`scatter_to_argmax` in a fixed order, from edges sorted by source, and by ``dst`` for each source."""
    out = grad.new_empty(ptr.numel() - 1, grad.size(1))
    grid, tile = _tile_grid(*out.shape)
    if out.numel():
        constants = _accumulator_type(grad), *tile
        launch(_scatter_deterministic_kernel, grid, (grad, argmax, dst, ptr, out), out.shape, constants, _WARPS)
    return out


@lru_cache(1024)
def _tile_grid(rows: int, channels: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid, and rows and channels per tile."""
    width = tile_width(channels)
    height = min(_TILE // width, _MAX_TILE_ROWS, triton.next_power_of_2(max(rows, 1)))
    return (-(-rows // height), -(-channels // width)), (height, width)


def _degree_flags(ptr: Tensor | None, src: Tensor, num_dst: int) -> tuple[bool, int]:
    """Compile-time constants: whether there are row pointers, and the edges per destination if unrolled, else 0."""
    degree = 0 if ptr is not None else src.numel() // num_dst
    return ptr is not None, degree if degree <= _MAX_UNROLLED else 0


def _sizes(out: Tensor, src: Tensor) -> tuple[int, int, int]:
    return out.size(0), out.size(1), src.numel() // out.size(0)


def _ptr_or_placeholder(ptr: Tensor | None, src: Tensor) -> Tensor:
    return src if ptr is None else ptr  # a placeholder, not read


def _accumulator_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _accumulator_type(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


@triton.jit
def _edge_range(ptr, row, num_rows, degree, HAS_PTR: tl.constexpr):
    """First edge and number of edges of every row; no edges for rows beyond the end."""
    inside = row < num_rows
    if HAS_PTR:
        first = tl.load(ptr + row, mask=inside, other=0).to(tl.int64)
        size = tl.load(ptr + row + 1, mask=inside, other=0) - first
    else:
        first = row * degree
        size = tl.where(inside, degree, 0).to(tl.int64)
    return first, size


@triton.jit
def _tile_indices(ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Rows (64-bit, as they are multiplied by channels) and channels of this program."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    return row, tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)


@triton.jit
def _load_source(src, first, size, edge):
    """Whether every row has an edge of this number, and the edge's source."""
    present = edge < size
    return present, tl.load(src + first + edge, mask=present, other=0).to(tl.int64)


@triton.jit
def _max_kernel(
    x,
    src,
    ptr,
    out,
    argmax,
    num_dst,
    channels,
    degree,
    HAS_PTR: tl.constexpr,
    DEGREE: tl.constexpr,
    RETURN_ARGMAX: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row, column = _tile_indices(ROWS, CHANNELS)
    first, size = _edge_range(ptr, row, num_dst, degree, HAS_PTR)
    best = tl.full((ROWS, CHANNELS), float("-inf"), ACCUMULATOR)
    best_source = tl.full((ROWS, CHANNELS), -1, tl.int32)
    if DEGREE > 0:
        for edge in tl.static_range(DEGREE):
            best, best_source = _update_max(best, best_source, x, src, first, size, edge, column, channels)
    else:
        for edge in range(0, tl.max(size, 0)):
            best, best_source = _update_max(best, best_source, x, src, first, size, edge, column, channels)
    inside = (row < num_dst)[:, None] & (column < channels)[None, :]
    offset = row[:, None] * channels + column[None, :]
    tl.store(out + offset, tl.where(best_source < 0, 0.0, best), mask=inside)
    if RETURN_ARGMAX:
        tl.store(argmax + offset, best_source, mask=inside)


@triton.jit
def _update_max(best, best_source, x, src, first, size, edge, column, channels):
    """Update the maximum with the next neighbour; ties go to the first, and the first NaN is kept."""
    present, source = _load_source(src, first, size, edge)
    mask = present[:, None] & (column < channels)[None, :]
    value = tl.load(x + source[:, None] * channels + column[None, :], mask=mask, other=float("-inf")).to(best.dtype)
    better = (value > best) | ((value != value) & (best == best)) | (best_source < 0)
    best = tl.where(mask & better, value, best)
    return best, tl.where(mask & better, source[:, None].to(tl.int32), best_source)


@triton.jit
def _sum_kernel(
    x,
    src,
    ptr,
    weight,
    out,
    num_dst,
    channels,
    degree,
    heads,
    width,
    HAS_PTR: tl.constexpr,
    DEGREE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row, column = _tile_indices(ROWS, CHANNELS)
    first, size = _edge_range(ptr, row, num_dst, degree, HAS_PTR)
    total = tl.zeros((ROWS, CHANNELS), ACCUMULATOR)
    if DEGREE > 0:
        for edge in tl.static_range(DEGREE):
            total += _load_term(
                x, src, weight, first, size, edge, column, channels, heads, width, HAS_WEIGHT, ACCUMULATOR
            )
    else:
        for edge in range(0, tl.max(size, 0)):
            total += _load_term(
                x, src, weight, first, size, edge, column, channels, heads, width, HAS_WEIGHT, ACCUMULATOR
            )
    inside = (row < num_dst)[:, None] & (column < channels)[None, :]
    tl.store(out + row[:, None] * channels + column[None, :], total, mask=inside)


@triton.jit
def _load_term(
    x,
    src,
    weight,
    first,
    size,
    edge,
    column,
    channels,
    heads,
    width,
    HAS_WEIGHT: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
):
    """The next neighbour's entries, times its weight."""
    present, source = _load_source(src, first, size, edge)
    mask = present[:, None] & (column < channels)[None, :]
    value = tl.load(x + source[:, None] * channels + column[None, :], mask=mask, other=0.0).to(ACCUMULATOR)
    if HAS_WEIGHT:
        offset = (first + edge)[:, None] * heads + column[None, :] // width
        value *= tl.load(weight + offset, mask=mask, other=0.0).to(ACCUMULATOR)
    return value


@triton.jit
def _dot_kernel(
    y,
    x,
    src,
    ptr,
    out,
    num_dst,
    degree,
    heads,
    width,
    HAS_PTR: tl.constexpr,
    DEGREE: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    first, size = _edge_range(ptr, row, num_dst, degree, HAS_PTR)
    if DEGREE > 0:
        for edge in tl.static_range(DEGREE):
            _store_products(y, x, src, out, row, head, first, size, edge, heads, width, ACCUMULATOR, ROWS, CHANNELS)
    else:
        for edge in range(0, tl.max(size, 0)):
            _store_products(y, x, src, out, row, head, first, size, edge, heads, width, ACCUMULATOR, ROWS, CHANNELS)


@triton.jit
def _store_products(
    y,
    x,
    src,
    out,
    row,
    head,
    first,
    size,
    edge,
    heads,
    width,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Store the inner product of every row with its next neighbour."""
    present, source = _load_source(src, first, size, edge)
    total = tl.zeros((ROWS,), ACCUMULATOR)
    for start in range(0, width, CHANNELS):
        column = start + tl.arange(0, CHANNELS)
        mask = present[:, None] & (column[None, :] < width)
        left = tl.load(y + (row[:, None] * heads + head) * width + column[None, :], mask=mask, other=0.0)
        right = tl.load(x + (source[:, None] * heads + head) * width + column[None, :], mask=mask, other=0.0)
        total += tl.sum(left.to(ACCUMULATOR) * right.to(ACCUMULATOR), 1)
    tl.store(out + (first + edge) * heads + head, total, mask=present)


@triton.jit
def _scatter_kernel(grad, argmax, out, num_dst, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    row, column = _tile_indices(ROWS, CHANNELS)
    inside = (row < num_dst)[:, None] & (column[None, :] < channels)
    offset = row[:, None] * channels + column[None, :]
    source = tl.load(argmax + offset, mask=inside, other=-1).to(tl.int64)
    value = tl.load(grad + offset, mask=inside, other=0.0).to(out.dtype.element_ty)
    tl.atomic_add(out + source * channels + column[None, :], value, mask=source >= 0, sem="relaxed")


@triton.jit
def _scatter_deterministic_kernel(
    grad,
    argmax,
    dst,
    ptr,
    out,
    num_src,
    channels,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row, column = _tile_indices(ROWS, CHANNELS)
    first, size = _edge_range(ptr, row, num_src, 0, True)
    channel_mask = column[None, :] < channels
    total = tl.zeros((ROWS, CHANNELS), ACCUMULATOR)
    previous = tl.full((ROWS,), -1, tl.int64)
    for edge in range(0, tl.max(size, 0)):
        target = tl.load(dst + first + edge, mask=edge < size, other=0)
        mask = ((edge < size) & (target != previous))[
            :, None
        ] & channel_mask  # two edges between the same nodes count once
        offset = target[:, None] * channels + column[None, :]
        is_argmax = mask & (tl.load(argmax + offset, mask=mask, other=-1) == row[:, None])
        total += tl.load(grad + offset, mask=is_argmax, other=0.0).to(ACCUMULATOR)
        previous = target
    inside = (row < num_src)[:, None] & channel_mask
    tl.store(out + row[:, None] * channels + column[None, :], total, mask=inside)
