"""Nearest sources of every target in graphs of equal size, by inner products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_vig import native
from pyg_vig.kernels import register_operator

CHUNK = 1 << 23  # distances held at a time (32 MiB in float32) where the kernel is not used
_MOST = 1024  # neighbours; the kernel's ranking takes quadratic time and would be slow for more


def nearest(
    sources: Tensor,
    targets: Tensor,
    k: int,
    *,
    base: Tensor | None = None,
    bias: Tensor | None = None,
    cosine: bool = False,
    loop: bool | None = None,
    step: int = 0,
) -> Tensor:
    r"""Find the ``k`` nearest sources of every target, nearest first.

    The distance is :math:`a_{bj} + B_{ij} - 2 \langle t_{bi}, s_{bj} \rangle`. For float32 on a CPU, a C kernel selects
    while the products of a few rows are still in the cache. Where it is not available (see :mod:`pyg_vig.native`),
    distances are computed a chunk at a time, and :func:`torch.topk` selects.

    Args:
        sources: :math:`s`, ``(B, M, C)``.
        targets: :math:`t`, ``(B, N, C)``.
        k: number of sources per target.
        base: :math:`a`, ``(B, M)``.
        bias: :math:`B`, ``(N, M)``.
        cosine: normalise the rows to unit length, see :func:`directions`.
        loop: ``True``: the source with the target's own number is its first neighbour; ``False``: it is never a
            neighbour; ``None``: it is treated like any other.
        step: offset between the source numbers of consecutive graphs; by default all graphs count from zero.

    Returns:
        Numbers of sources ``(B, N, k)``, int64. In the kernel, ties go to the lower number.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.knn.nearest import nearest
        >>> x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
        >>> nearest(x, x, 2, cosine=True).tolist()
        [[[0, 2], [1, 2], [2, 0]]]
    """
    if sources.device.type != "cpu" or torch.compiler.is_exporting():
        return _plainly(sources, targets, k, base, bias, cosine, loop, step)
    choose = _chosen if torch.compiler.is_compiling() else _choose
    return choose(sources, targets, k, base, bias, cosine, loop, step)


def directions(sources: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise rows to unit length; rows without a direction (a NaN or infinity among the features) become zeros."""
    units = F.normalize(sources, dim=-1).nan_to_num_(nan=0.0)
    return units, units if targets is sources else F.normalize(targets, dim=-1).nan_to_num_(nan=0.0)


def _choose(
    sources: Tensor,
    targets: Tensor,
    k: int,
    base: Tensor | None,
    bias: Tensor | None,
    cosine: bool,
    loop: bool | None,
    step: int,
) -> Tensor:
    serves = sources.dtype == targets.dtype == torch.float32 and k <= _MOST and sources.numel() > 0
    if serves and native.is_supported(sources):
        return native.nearest(sources, targets, k, base, bias, cosine, loop, step)
    return _plainly(sources, targets, k, base, bias, cosine, loop, step)


_chosen = register_operator(_choose, "nearest_in_graphs")  # for torch.compile


@torch.library.register_fake("pyg_vig::nearest_in_graphs")
def _(sources: Tensor, targets: Tensor, k: int, *_: Any) -> Tensor:
    return targets.new_empty((*targets.shape[:2], k), dtype=torch.int64)


def _plainly(
    sources: Tensor,
    targets: Tensor,
    k: int,
    base: Tensor | None,
    bias: Tensor | None,
    cosine: bool,
    loop: bool | None,
    step: int,
) -> Tensor:
    index = _in_chunks(sources, targets, k, base, bias, cosine, loop)
    return index + torch.arange(index.size(0), device=index.device).view(-1, 1, 1) * step if step else index


def _in_chunks(
    sources: Tensor, targets: Tensor, k: int, base: Tensor | None, bias: Tensor | None, cosine: bool, loop: bool | None
) -> Tensor:
    if cosine:
        sources, targets = directions(sources, targets)
    (graphs, n), m = targets.shape[:2], sources.size(1)

    def search(some: slice, rows: slice, out: Tensor | None = None) -> Tensor:
        distance = torch.bmm(targets[some, rows], sources[some].mT, out=out).mul_(-2)
        for start in (None if base is None else base[some].unsqueeze(1), None if bias is None else bias[rows]):
            distance = distance if start is None else distance.add_(start)
        if loop is not None:
            row, column = (torch.arange(size, device=distance.device) for size in distance.shape[1:])
            distance = distance.masked_fill_(
                row.unsqueeze(1) + (rows.start or 0) == column, -math.inf if loop else math.inf
            )
        return distance.topk(k, dim=-1, largest=False, sorted=True).indices

    if torch.compiler.is_compiling() or graphs * n * m <= CHUNK:
        return search(slice(None), slice(None))
    # One buffer for all chunks: a new one for each would cost page faults and fragment the heap.
    buffer = targets.new_empty(max(CHUNK, m))
    index = torch.empty(graphs, n, k, dtype=torch.int64, device=targets.device)
    for some, rows in _chunks(graphs, n, m):
        part = index[some, rows]
        shape = (part.size(0), part.size(1), m)
        part.copy_(search(some, rows, buffer[: shape[0] * shape[1] * m].view(shape)))
    return index


def _chunks(graphs: int, n: int, m: int) -> Iterator[tuple[slice, slice]]:
    graph_step, row_step = max(1, CHUNK // (n * m)), max(1, CHUNK // m)
    for graph in range(0, graphs, graph_step):
        for row in range(0, n, row_step):
            yield slice(graph, graph + graph_step), slice(row, row + row_step)
