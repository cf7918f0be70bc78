"""The k smallest entries of every row, by torch or by packed keys, whichever is faster."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

# Short rows: numpy's vectorised partition of packed keys takes half the time of torch.topk. Longer rows: topk rejects
# most entries at a glance and wins (measured; they break even near 512).
_PACKED_COLUMNS = 384
_BLOCK_ROWS = 2048  # bounds the memory for keys; larger blocks leave the cache


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
    columns = distance.size(-1)
    bits = distance.detach().contiguous().view(torch.int32).view(-1, columns)
    nearest = np.empty((bits.size(0), k), np.int64)
    halves = torch.empty(min(bits.size(0), _BLOCK_ROWS), columns, 2, dtype=torch.int32)
    column = torch.arange(columns, dtype=torch.int32)
    for start in range(0, bits.size(0), _BLOCK_ROWS):
        block = bits[start : start + _BLOCK_ROWS]
        pair = halves[: block.size(0)]
        pair[..., 0] = column
        torch.bitwise_xor(block, (block >> 31).bitwise_and_(0x7FFFFFFF), out=pair[..., 1])
        keys = pair.view(torch.int64).squeeze(-1).numpy()
        if k < columns:
            keys.partition(k - 1, axis=1)
        best = nearest[start : start + _BLOCK_ROWS]
        best[:] = keys[:, :k]
        best.sort(axis=1)
        best &= 0xFFFFFFFF
    return torch.from_numpy(nearest).view(*distance.shape[:-1], k)


@_packed_smallest.register_fake
def _(distance: Tensor, k: int) -> Tensor:
    return distance.new_empty((*distance.shape[:-1], k), dtype=torch.int64)
