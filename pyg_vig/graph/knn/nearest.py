"""Nearest sources of every target in graphs of equal size, by inner products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_vig import native
from pyg_vig.kernels import is_exporting, register_operator

CHUNK_NUMEL = 1 << 23  # distances held at a time (32 MiB in float32) where the kernel is not used
_MAX_K = 1024  # neighbours; the kernel's ranking takes quadratic time and would be slow for more


def nearest(
    sources: Tensor,
    targets: Tensor,
    k: int,
    *,
    src_bias: Tensor | None = None,
    pair_bias: Tensor | None = None,
    cosine: bool = False,
    loop: bool | None = None,
    index_offset: int = 0,
) -> Tensor:
    r"""Find the ``k`` nearest sources of every target, nearest first.

    The distance is :math:`a_{bj} + B_{ij} - 2 \langle t_{bi}, s_{bj} \rangle`. For float32 on a CPU, a C kernel selects
    while the products of a few rows are still in the cache. Where it is not available (see :mod:`pyg_vig.native`),
    distances are computed a chunk at a time, and :func:`torch.topk` selects.

    Args:
        sources: :math:`s`, ``(B, M, C)``.
        targets: :math:`t`, ``(B, N, C)``.
        k: number of sources per target.
        src_bias: :math:`a`, ``(B, M)``.
        pair_bias: :math:`B`, ``(N, M)``.
        cosine: normalise the rows to unit length, see :func:`unit_rows`.
        loop: ``True``: the source with the target's own number is its first neighbour; ``False``: it is never a
            neighbour; ``None``: it is treated like any other.
        index_offset: offset between the source numbers of consecutive graphs; by default all graphs count from zero.

    Returns:
        Numbers of sources ``(B, N, k)``, int64. In the kernel, ties go to the lower number.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.knn.nearest import nearest
        >>> x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
        >>> nearest(x, x, 2, cosine=True).tolist()
        [[[0, 2], [1, 2], [2, 0]]]
    """
    if sources.device.type != "cpu" or is_exporting():
        return _nearest_fallback(sources, targets, k, src_bias, pair_bias, cosine, loop, index_offset)
    run = _nearest_op if torch.compiler.is_compiling() else _nearest_impl
    return run(sources, targets, k, src_bias, pair_bias, cosine, loop, index_offset)


def unit_rows(sources: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise rows to unit length; rows without a direction (a NaN or infinity among the features) become zeros."""
    units = F.normalize(sources, dim=-1).nan_to_num_(nan=0.0)
    return units, units if targets is sources else F.normalize(targets, dim=-1).nan_to_num_(nan=0.0)


def _nearest_impl(
    sources: Tensor,
    targets: Tensor,
    k: int,
    src_bias: Tensor | None,
    pair_bias: Tensor | None,
    cosine: bool,
    loop: bool | None,
    index_offset: int,
) -> Tensor:
    fits = sources.dtype == targets.dtype == torch.float32 and k <= _MAX_K and sources.numel() > 0
    if fits and native.is_supported(sources):
        return native.nearest(sources, targets, k, src_bias, pair_bias, cosine, loop, index_offset)
    return _nearest_fallback(sources, targets, k, src_bias, pair_bias, cosine, loop, index_offset)


_nearest_op = register_operator(_nearest_impl, "nearest_in_graphs")  # for torch.compile


@torch.library.register_fake("pyg_vig::nearest_in_graphs")
def _(sources: Tensor, targets: Tensor, k: int, *_: Any) -> Tensor:
    return targets.new_empty((*targets.shape[:2], k), dtype=torch.int64)


def _nearest_fallback(
    sources: Tensor,
    targets: Tensor,
    k: int,
    src_bias: Tensor | None,
    pair_bias: Tensor | None,
    cosine: bool,
    loop: bool | None,
    index_offset: int,
) -> Tensor:
    if cosine:
        sources, targets = unit_rows(sources, targets)
    (graphs, n), m = targets.shape[:2], sources.size(1)
    offsets = torch.arange(graphs, device=targets.device).view(-1, 1, 1) * index_offset if index_offset else None

    def search_chunk(graph_slice: slice, row_slice: slice, out: Tensor | None = None) -> Tensor:
        distance = torch.bmm(targets[graph_slice, row_slice], sources[graph_slice].mT, out=out).mul_(-2)
        for term in (
            None if src_bias is None else src_bias[graph_slice].unsqueeze(1),
            None if pair_bias is None else pair_bias[row_slice],
        ):
            distance = distance if term is None else distance.add_(term)
        if loop is not None:
            row, column = (torch.arange(size, device=distance.device) for size in distance.shape[1:])
            distance = distance.masked_fill_(
                row.unsqueeze(1) + (row_slice.start or 0) == column, -math.inf if loop else math.inf
            )
        chunk_index = distance.topk(k, dim=-1, largest=False, sorted=True).indices
        return chunk_index if offsets is None else chunk_index + offsets[graph_slice]

    if torch.compiler.is_compiling() or graphs * n * m <= CHUNK_NUMEL:
        return search_chunk(slice(None), slice(None))
    # One buffer for all chunks: a new one for each would cost page faults and fragment the heap.
    buffer = targets.new_empty(max(CHUNK_NUMEL, m))
    index = torch.empty(graphs, n, k, dtype=torch.int64, device=targets.device)
    for graph_slice, row_slice in _chunks(graphs, n, m):
        chunk_index = index[graph_slice, row_slice]
        shape = (chunk_index.size(0), chunk_index.size(1), m)
        chunk_index.copy_(search_chunk(graph_slice, row_slice, buffer[: shape[0] * shape[1] * m].view(shape)))
    return index


def _chunks(graphs: int, n: int, m: int) -> Iterator[tuple[slice, slice]]:
    graph_step, row_step = max(1, CHUNK_NUMEL // (n * m)), max(1, CHUNK_NUMEL // m)
    for graph in range(0, graphs, graph_step):
        for row in range(0, n, row_step):
            yield slice(graph, graph + graph_step), slice(row, row + row_step)
