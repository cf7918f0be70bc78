"""The k smallest entries of every row, by torch or by packed keys, whichever is faster."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Short rows: numpy's vectorised partition of packed keys takes half the time of torch.topk. Longer rows: topk rejects
# most entries at a glance and wins (measured; they break even near 512).
_PACKED_COLUMNS = 384
_BLOCK_ROWS = 512  # keys of one block stay in the cache


def smallest(distance: Tensor, k: int) -> Tensor:
    """Columns of the ``k`` smallest entries of every row, in increasing order: ``(..., M) -> (..., k)`` int64.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.nearest import smallest
        >>> smallest(torch.tensor([[3.0, 1.0, 2.0]]), 2)
        tensor([[1, 2]])
    """
    if _packs(distance):
        return torch.ops.pyg_vig.packed_smallest(distance, k)
    return distance.topk(k, dim=-1, largest=False, sorted=True).indices


def _packs(distance: Tensor) -> bool:
    return (
        distance.device.type == "cpu"
        and distance.dtype == torch.float32
        and distance.size(-1) <= _PACKED_COLUMNS
        and sys.byteorder == "little"
        and not torch.compiler.is_exporting()
    )


@torch.library.custom_op("pyg_vig::packed_smallest", mutates_args=())
def _packed_smallest(distance: Tensor, k: int) -> Tensor:
    """Selection on 64-bit keys: the bits of the float, made to order like integers, above the number of its column.

    One integer partition then sorts values and columns together, and ties go to the lower column.
    """
    bits = distance.detach().contiguous().view(torch.int32).numpy().reshape(-1, distance.size(-1))
    nearest = np.empty((len(bits), k), np.int64)
    threads = min(torch.get_num_threads(), -(-len(bits) // _BLOCK_ROWS))
    if threads > 1:  # numpy lets go of the interpreter while it sorts
        spans = zip(np.array_split(bits, threads), np.array_split(nearest, threads), strict=True)
        list(_pool(os.getpid(), threads).map(lambda span: _select(*span), spans))
    else:
        _select(bits, nearest)
    return torch.from_numpy(nearest).view(*distance.shape[:-1], k)


def _select(bits: np.ndarray, nearest: np.ndarray) -> None:
    columns, k = bits.shape[1], nearest.shape[1]
    halves = np.empty((min(len(bits), _BLOCK_ROWS), columns, 2), np.int32)
    for start in range(0, len(bits), _BLOCK_ROWS):
        block, best = bits[start : start + _BLOCK_ROWS], nearest[start : start + _BLOCK_ROWS]
        low, high = np.moveaxis(halves[: len(block)], 2, 0)
        low[:] = np.arange(columns, dtype=np.int32)
        np.right_shift(block, 31, out=high)
        high &= 0x7FFFFFFF
        high ^= block
        keys = halves[: len(block)].view(np.int64)[..., 0]
        if k < columns:
            keys.partition(k - 1, axis=1)
        best[:] = keys[:, :k]
        best.sort(axis=1)
        best &= 0xFFFFFFFF


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)  # one a process: threads do not survive a fork


@_packed_smallest.register_fake
def _(distance: Tensor, k: int) -> Tensor:
    return distance.new_empty((*distance.shape[:-1], k), dtype=torch.int64)
