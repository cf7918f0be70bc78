"""k nearest neighbours with a running list of the best, so that no distance matrix is ever stored.

Each program handles a block of destinations. If a graph has so few sources that their distances fit into registers, it
extracts the smallest one by one. Otherwise it keeps a list of the ``count`` nearest so far and loops over blocks of
sources: one matrix product gives a tile of distances, and sources nearer than the farthest in the list replace it. Once
the list has settled, replacements are rare and the product dominates.

Ties go to the lower column, whatever the tiling. In the list, distance and column are therefore packed into one 64-bit
key: the bits of the float, mapped to an integer of the same order, above the column.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_vig.triton_kernels import on_input_device
from pyg_vig.triton_kernels.launch import launch

_EXCLUDED_KEY = tl.constexpr(0x7FFFFFFFFFFFFFFF)  # above every key: no candidate
_EMPTY_SLOT = tl.constexpr(0x7FFFFFFF00000000)  # above every distance, even infinity: a free slot of the list
_PAD_SLOT = tl.constexpr(-0x8000000000000000)  # below every key: a slot that only pads the list to a power of two
_EXCLUDED = tl.constexpr(0x7FFFFFFF)  # above the integer of every distance, even infinity: no candidate
_SELF_RANKED, _SELF_FIRST, _SELF_EXCLUDED = 0, 1, 2  # how the node itself is treated
_MAX_ONE_TILE = 256  # sources whose distances to a block of destinations fit into registers
_NORM_ROWS = 16


@on_input_device
def nearest(
    src: Tensor,
    dst: Tensor,
    src_bias: Tensor | None,
    pair_bias: Tensor | None,
    ptr_src: Tensor | None,
    ptr_dst: Tensor | None,
    num_graphs: int,
    count: int,
    loop: bool | None,
    cosine: bool,
) -> Tensor:
    """Find the rows of the ``count`` nearest sources of every destination; see :mod:`pyg_vig.graph.knn.flash`."""
    out = src.new_empty(dst.size(0), count, dtype=torch.int64)
    if out.numel() == 0:
        return out
    (n, m), max_sizes = _sizes(dst, src, ptr_dst, ptr_src, num_graphs)
    scales = _scales(src, dst) if cosine else (None, None)
    optional = (*scales, src_bias, pair_bias, ptr_src, ptr_dst)
    flags = [part is not None for part in (ptr_src, scales[0], src_bias, pair_bias)]
    self_mode = _SELF_RANKED if loop is None else _SELF_FIRST if loop else _SELF_EXCLUDED
    slots = max(1 << (count - 1).bit_length(), 2)  # a power of two
    one_tile, rows, columns, warps = _tile_sizes(*max_sizes, slots, src.dtype)
    blocks = -(-max_sizes[0] // rows)
    tensors = (src, dst, *(src if part is None else part for part in optional), out)  # placeholders are not read
    constants = (*flags, self_mode, one_tile, rows, columns, 32, _precision(src.dtype), slots)
    launch(_nearest_kernel, (num_graphs * blocks,), tensors, (n, m, src.size(1), blocks, count), constants, warps)
    return out


@lru_cache(1024)
def _tile_sizes(destinations: int, sources: int, slots: int, dtype: torch.dtype) -> tuple[bool, int, int, int]:
    """Whether one tile holds all sources, its rows and columns, and the number of warps; tuned on an H200."""
    if sources > _MAX_ONE_TILE:  # eight warps avoid register spills
        return False, 16 if slots > 64 else 32, 64, 8
    rows = 64 if dtype != torch.float32 and destinations > _MAX_ONE_TILE else 16
    return True, rows, max(triton.next_power_of_2(sources), 16), 4


def _precision(dtype: torch.dtype, amd: bool = torch.version.hip is not None) -> str:
    """Input precision for products exact to float32: with TF32 (NVIDIA only), three products, or one for half types."""
    if amd:
        return "ieee"
    return "tf32x3" if dtype == torch.float32 else "tf32"


def _sizes(
    dst: Tensor, src: Tensor, ptr_dst: Tensor | None, ptr_src: Tensor | None, num_graphs: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Destinations and sources per graph if all graphs are equal, and the most in any graph."""
    equal = dst.size(0) // num_graphs, src.size(0) // num_graphs
    if ptr_dst is None or ptr_src is None:
        return equal, equal
    destinations, sources = torch.stack([ptr.diff().max() for ptr in (ptr_dst, ptr_src)]).tolist()
    return equal, (destinations, sources)


def _scales(src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor]:
    """Factors that normalise every row to unit length, or to zero if it has no direction."""
    scale = _scale(src)
    return scale, scale if dst is src else _scale(dst)


def _scale(x: Tensor) -> Tensor:
    scale = x.new_empty(x.size(0), dtype=torch.float32)
    launch(_scale_kernel, (-(-x.size(0) // _NORM_ROWS),), (x, scale), x.shape, (_NORM_ROWS, 128))
    return scale


@triton.jit
def _scale_kernel(x, out, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        mask = (row < rows)[:, None] & (channel < channels)[None, :]
        value = tl.load(x + row[:, None] * channels + channel[None, :], mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(value * value, 1)
    length = tl.sqrt(total)
    scale = tl.where(length < float("inf"), 1 / tl.maximum(length, 1e-12), 0.0)  # zero for NaN, too
    tl.store(out + row, scale, mask=row < rows)


@triton.jit
def _nearest_kernel(
    src,
    dst,
    scale_src,
    scale_dst,
    src_bias,
    pair_bias,
    ptr_src,
    ptr_dst,
    out,
    n,
    m,
    channels,
    blocks,
    count,
    RAGGED: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_SRC_BIAS: tl.constexpr,
    HAS_PAIR_BIAS: tl.constexpr,
    SELF_MODE: tl.constexpr,
    ONE_TILE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    SLOTS: tl.constexpr,
):
    first_src, first_dst, n, m = _graph_span(ptr_src, ptr_dst, n, m, blocks, RAGGED)
    begin = (tl.program_id(0) % blocks) * ROWS
    row = begin + tl.arange(0, ROWS)
    if ONE_TILE:  # without a loop, which would need more registers
        column = tl.arange(0, COLUMNS)
        ordered = _ordered_distances(
            src,
            dst,
            scale_src,
            scale_dst,
            src_bias,
            pair_bias,
            first_src,
            first_dst,
            row,
            column,
            n,
            m,
            channels,
            HAS_SCALE,
            HAS_SRC_BIAS,
            HAS_PAIR_BIAS,
            SELF_MODE,
            ROWS,
            COLUMNS,
            CHANNELS,
            PRECISION,
        )
        _store_smallest(ordered, column, out + (first_dst + row) * count, row < n, first_src, m, count, COLUMNS)
    else:
        slot = tl.arange(0, SLOTS).to(tl.int64)[None, :]
        best = tl.where(slot < count, _EMPTY_SLOT + slot, _PAD_SLOT) + tl.zeros((ROWS, SLOTS), tl.int64)
        end = tl.where(begin < n, m, 0)  # nothing to do in surplus blocks of smaller graphs
        for start in range(0, end, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            ordered = _ordered_distances(
                src,
                dst,
                scale_src,
                scale_dst,
                src_bias,
                pair_bias,
                first_src,
                first_dst,
                row,
                column,
                n,
                m,
                channels,
                HAS_SCALE,
                HAS_SRC_BIAS,
                HAS_PAIR_BIAS,
                SELF_MODE,
                ROWS,
                COLUMNS,
                CHANNELS,
                PRECISION,
            )
            keys = (ordered.to(tl.int64) << 32) | column[None, :].to(tl.int64)
            best = _update_nearest(best, tl.where(ordered == _EXCLUDED, _EXCLUDED_KEY, keys))
        nearest_rows = tl.sort(tl.where(slot < count, best, _EXCLUDED_KEY), 1)
        nearest_rows = tl.minimum(nearest_rows & 0xFFFFFFFF, m - 1) + first_src
        offset = (first_dst + row)[:, None] * count + slot
        tl.store(out + offset, nearest_rows, mask=(row < n)[:, None] & (slot < count))


@triton.jit
def _store_smallest(remaining, column, pointer, inside, first_src, m, count, COLUMNS: tl.constexpr):
    """Store the columns of the ``count`` smallest entries of every row in order; ties go to the lower column."""
    for rank in range(0, count):
        ties = remaining == tl.min(remaining, 1)[:, None]
        nearest_column = tl.min(tl.where(ties, column[None, :], COLUMNS), 1)
        tl.store(pointer + rank, tl.minimum(nearest_column, m - 1) + first_src, mask=inside)
        remaining = tl.where(column[None, :] == nearest_column[:, None], _EXCLUDED, remaining)


@triton.jit
def _graph_span(ptr_src, ptr_dst, n, m, blocks, RAGGED: tl.constexpr):
    """First rows (64-bit, as they are multiplied by channels) and sizes of this program's graph."""
    graph = (tl.program_id(0) // blocks).to(tl.int64)
    first_src, first_dst = graph * m, graph * n
    if RAGGED:
        first_src, first_dst = tl.load(ptr_src + graph), tl.load(ptr_dst + graph)
        m = (tl.load(ptr_src + graph + 1) - first_src).to(tl.int32)
        n = (tl.load(ptr_dst + graph + 1) - first_dst).to(tl.int32)
    return first_src, first_dst, n, m


@triton.jit
def _ordered_distances(
    src,
    dst,
    scale_src,
    scale_dst,
    src_bias,
    pair_bias,
    first_src,
    first_dst,
    row,
    column,
    n,
    m,
    channels,
    HAS_SCALE: tl.constexpr,
    HAS_SRC_BIAS: tl.constexpr,
    HAS_PAIR_BIAS: tl.constexpr,
    SELF_MODE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """For every pair, an integer that grows with the distance, see :func:`_to_ordered_int`."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    if HAS_PAIR_BIAS:  # added first, so that the rest stays in the register layout of the products
        inside = (row < n)[:, None] & (column < m)[None, :]
        total -= 0.5 * tl.load(pair_bias + row.to(tl.int64)[:, None] * m + column[None, :], mask=inside, other=0.0)
    dst, src = dst + first_dst * channels, src + first_src * channels
    if HAS_SCALE:
        left = tl.load(scale_dst + first_dst + row, mask=row < n, other=0.0)
        right = tl.load(scale_src + first_src + column, mask=column < m, other=0.0)
        has_direction = (left != 0.0)[:, None] & (right != 0.0)[None, :]  # otherwise the product is zero
        scale = left[:, None] * right[None, :]
        if HAS_PAIR_BIAS:
            total /= tl.where(has_direction, scale, 1.0)
        total = _add_products(total, dst, src, row, column, left != 0.0, right != 0.0, channels, CHANNELS, PRECISION)
        total = tl.where(has_direction, total * scale, total)
    else:
        total = _add_products(total, dst, src, row, column, row < n, column < m, channels, CHANNELS, PRECISION)
    distance = -2.0 * total
    if HAS_SRC_BIAS:
        distance += tl.load(src_bias + first_src + column, mask=column < m, other=0.0)[None, :]
    return _to_ordered_int(distance, row, column, m, SELF_MODE)


@triton.jit
def _add_products(
    total, dst, src, row, column, mask_dst, mask_src, channels, CHANNELS: tl.constexpr, PRECISION: tl.constexpr
):
    """Add inner products of a block of destinations with a block of sources; zeros for absent rows."""
    row, column = row.to(tl.int64), column.to(tl.int64)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        channel_mask = channel < channels
        left = tl.load(
            dst + row[:, None] * channels + channel[None, :], mask=mask_dst[:, None] & channel_mask[None, :], other=0.0
        )
        right = tl.load(
            src + column[None, :] * channels + channel[:, None],
            mask=mask_src[None, :] & channel_mask[:, None],
            other=0.0,
        )
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision=PRECISION)
    return total


@triton.jit
def _to_ordered_int(distance, row, column, m, SELF_MODE: tl.constexpr):
    """Map distances to integers of the same order, and excluded pairs to ``_EXCLUDED``; NaN counts as infinity."""
    distance = tl.where(distance == distance, distance, float("inf"))
    distance = tl.where(distance == 0.0, 0.0, distance)  # map -0 to +0
    if SELF_MODE == 1:
        distance = tl.where(row[:, None] == column[None, :], float("-inf"), distance)
    bits = distance.to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    excluded = column[None, :] >= m
    if SELF_MODE == 2:
        excluded = excluded | (row[:, None] == column[None, :])
    return tl.where(excluded, _EXCLUDED, ordered)


@triton.jit
def _update_nearest(best, keys):
    """Replace the largest key of the list by the smallest new key, as long as this improves any row."""
    worst, nearest_key = tl.max(best, 1), tl.min(keys, 1)
    while tl.max((nearest_key < worst).to(tl.int32), 0) > 0:
        improves = (nearest_key < worst)[:, None]
        best = tl.where(improves & (best == worst[:, None]), nearest_key[:, None], best)
        keys = tl.where(keys == nearest_key[:, None], _EXCLUDED_KEY, keys)
        worst, nearest_key = tl.max(best, 1), tl.min(keys, 1)
    return best
