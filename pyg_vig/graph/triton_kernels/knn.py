"""k nearest neighbours with a running list of the best, so that no matrix of distances is ever stored.

A program keeps, for a block of destinations, their ``count`` nearest so far, and goes through the sources block by
block: one product gives a tile of distances, and what is nearer than the farthest of the list replaces it. Once the
list has settled that happens rarely, so the product dominates.

Distance and column are packed into one 64-bit key: the bits of the float, made to order like integers, above the
column. Keys are distinct, so a comparison settles ties as well, towards the lower column, whatever the tiling.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_vig.graph.triton_kernels import on_its_device

_FAR = tl.constexpr(0x7FFFFFFFFFFFFFFF)  # above every key: no candidate
_UNFILLED = tl.constexpr(0x7FFFFFFF00000000)  # above every distance, infinity included: a free place in the list
_RESERVED = tl.constexpr(-0x8000000000000000)  # below every key: a place that only pads the list to a power of two
_RANKED, _FIRST, _NEVER = 0, 1, 2  # what becomes of the node itself


@on_its_device
def nearest(
    src: Tensor,
    dst: Tensor,
    base: Tensor | None,
    bias: Tensor | None,
    ptr_src: Tensor | None,
    ptr_dst: Tensor | None,
    num_graphs: int,
    count: int,
    loop: bool | None,
) -> Tensor:
    """Rows of the ``count`` nearest sources of every destination; see :mod:`pyg_vig.graph.flash_knn`."""
    out = src.new_empty(dst.size(0), count, dtype=torch.int64)
    if out.numel() == 0:
        return out
    sizes = [rows.size(0) // num_graphs for rows in (dst, src)]
    longest = sizes[0] if ptr_dst is None else int(ptr_dst.diff().max())
    slots = max(triton.next_power_of_2(count), 2)
    rows, columns, channels = 16 if slots > 64 else 32, 64, 32  # with eight warps no register spills
    blocks = triton.cdiv(longest, rows)
    optional = [src if entry is None else entry for entry in (base, bias, ptr_src, ptr_dst)]  # unread where absent
    flags = [entry is not None for entry in (ptr_src, base, bias)]
    itself = _RANKED if loop is None else _FIRST if loop else _NEVER
    _nearest_kernel[(num_graphs * blocks,)](
        src,
        dst,
        *optional,
        out,
        *sizes,
        src.size(1),
        blocks,
        count,
        *flags,
        itself,
        rows,
        columns,
        channels,
        slots,
        num_warps=8,
    )
    return out


@triton.jit
def _nearest_kernel(
    src,
    dst,
    base,
    bias,
    ptr_src,
    ptr_dst,
    out,
    n,
    m,
    channels,
    blocks,
    count,
    RAGGED: tl.constexpr,
    HAS_BASE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ITSELF: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    SLOTS: tl.constexpr,
):
    graph = (tl.program_id(0) // blocks).to(tl.int64)
    first_src, first_dst = graph * m, graph * n
    if RAGGED:
        first_src, first_dst = tl.load(ptr_src + graph), tl.load(ptr_dst + graph)
        m = (tl.load(ptr_src + graph + 1) - first_src).to(tl.int32)
        n = (tl.load(ptr_dst + graph + 1) - first_dst).to(tl.int32)
    row = (tl.program_id(0) % blocks) * ROWS + tl.arange(0, ROWS)
    slot = tl.arange(0, SLOTS).to(tl.int64)[None, :]
    best = tl.where(slot < count, _UNFILLED + slot, _RESERVED) + tl.zeros((ROWS, SLOTS), tl.int64)
    end = tl.where((tl.program_id(0) % blocks) * ROWS < n, m, 0)  # smaller graphs have fewer blocks
    for start in range(0, end, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        distance = -2.0 * _product(
            dst + first_dst * channels, src + first_src * channels, row, column, n, m, channels, ROWS, COLUMNS, CHANNELS
        )
        if HAS_BASE:
            distance += tl.load(base + first_src + column, mask=column < m, other=0.0)[None, :]
        if HAS_BIAS:
            inside = (row < n)[:, None] & (column < m)[None, :]
            distance += tl.load(bias + row.to(tl.int64)[:, None] * m + column[None, :], mask=inside, other=0.0)
        best = _keep_nearest(best, _keys(distance, row, column, m, ITSELF))
    found = tl.sort(tl.where(slot < count, best, _FAR), 1)
    found = tl.minimum(found & 0xFFFFFFFF, m - 1) + first_src
    place = (first_dst + row)[:, None] * count + slot
    tl.store(out + place, found, mask=(row < n)[:, None] & (slot < count))


@triton.jit
def _product(
    dst,
    src,
    row,
    column,
    n,
    m,
    channels,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Inner products of a block of destinations with a block of sources, in float32 throughout."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    row, column = row.to(tl.int64), column.to(tl.int64)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        wide = channel < channels
        left = tl.load(
            dst + row[:, None] * channels + channel[None, :], mask=(row < n)[:, None] & wide[None, :], other=0.0
        )
        right = tl.load(
            src + column[None, :] * channels + channel[:, None], mask=(column < m)[None, :] & wide[:, None], other=0.0
        )
        # Full precision: tf32 cannot tell near neighbours apart.
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    return total


@triton.jit
def _keys(distance, row, column, m, ITSELF: tl.constexpr):
    """Distance above column, in 64 bits that order as pairs do; a NaN is infinitely far."""
    distance = tl.where(distance == distance, distance, float("inf"))
    distance = tl.where(distance == 0.0, 0.0, distance)  # of a negative zero
    if ITSELF == 1:
        distance = tl.where(row[:, None] == column[None, :], float("-inf"), distance)
    bits = distance.to(tl.int32, bitcast=True)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)
    keys = (ordered << 32) | column[None, :].to(tl.int64)
    excluded = column[None, :] >= m
    if ITSELF == 2:
        excluded = excluded | (row[:, None] == column[None, :])
    return tl.where(excluded, _FAR, keys)


@triton.jit
def _keep_nearest(best, keys):
    """Move the smallest key into the list, in place of the largest there, for as long as any row gains by it."""
    worst, nearest_key = tl.max(best, 1), tl.min(keys, 1)
    while tl.max((nearest_key < worst).to(tl.int32), 0) > 0:
        gains = (nearest_key < worst)[:, None]
        best = tl.where(gains & (best == worst[:, None]), nearest_key[:, None], best)
        keys = tl.where(keys == nearest_key[:, None], _FAR, keys)
        worst, nearest_key = tl.max(best, 1), tl.min(keys, 1)
    return best
