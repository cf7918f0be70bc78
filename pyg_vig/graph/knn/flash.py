r"""k nearest neighbours without a matrix of distances: the operator, and the search by layouts built on it.

The distance that a source :math:`j` has to a destination :math:`i` is, up to what is the same for all sources,
:math:`b_j + B_{ij} - 2 \langle x_i, x_j \rangle`. Of sources at the same distance the one with the lower row comes
first, in the kernel and in the plain definition alike.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pyg_vig.graph.knn.nearest import directions
from pyg_vig.graph.knn.query import Query
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import operator
from pyg_vig.triton_kernels import serves

MAX_COUNT = 256  # neighbours that the kernel keeps in registers


def nearest_ragged(
    src: Tensor,
    dst: Tensor,
    base: Tensor | None,
    bias: Tensor | None,
    ptr_src: Tensor | None,
    ptr_dst: Tensor | None,
    num_graphs: int,
    count: int,
    loop: bool | None,
    cosine: bool,
) -> Tensor:
    """Rows of the ``count`` nearest sources of every destination, of the same graph, nearest first: ``(N_dst, count)``.

    Args:
        src: sources, ``(N_src, C)``; products are exact to the digits of float32. Not infinite, but with ``cosine``.
        dst: destinations, ``(N_dst, C)``.
        base: distance of every source to begin with, ``(N_src,)``.
        bias: distance of every pair to begin with, ``(n_dst, n_src)``, where graphs are of equal size.
        ptr_src: first source of every graph and the end, ``(B + 1,)``; ``None`` where graphs are of equal size.
        ptr_dst: the same of the destinations; ``None`` where ``ptr_src`` is.
        num_graphs: number of graphs ``B``.
        count: neighbours asked for; a graph with destinations must have as many sources.
        loop: ``True``: a destination is its own first neighbour; ``False``: it is none; ``None``: it is like others.
        cosine: take the rows at unit length, see :func:`pyg_vig.graph.knn.nearest.directions`.
    """
    if serves_search(src, count):
        from pyg_vig.triton_kernels import knn

        rows = [entry if entry is None else entry.contiguous() for entry in (src, dst, base, bias)]
        return knn.nearest(*rows, ptr_src, ptr_dst, num_graphs, count, loop, cosine)
    if cosine:
        src, dst = directions(at_least_float32(src), at_least_float32(dst))
    found = [dst.new_empty(0, count, dtype=torch.int64)]
    for sources, targets in zip(_spans(ptr_src, src, num_graphs), _spans(ptr_dst, dst, num_graphs), strict=True):
        if targets.start < targets.stop:
            distance = _distances(src[sources], dst[targets], None if base is None else base[sources], bias)
            found.append(sources.start + _smallest(distance, count, loop))
    return torch.cat(found)


ragged_operator = operator(nearest_ragged)  # for compilers


@torch.library.register_fake("pyg_vig::nearest_ragged")
def _(
    src: Tensor, dst: Tensor, base: Any, bias: Any, ptr_src: Any, ptr_dst: Any, graphs: int, count: int, *_: Any
) -> Tensor:
    return dst.new_empty(dst.size(0), count, dtype=torch.int64)


def serves_search(src: Tensor, count: int) -> bool:
    """Whether the kernel finds ``count`` neighbours among rows like ``src``. (In float64 products are written out.)"""
    return serves(src) and src.dtype != torch.float64 and count <= MAX_COUNT


def search(query: Query) -> Tensor:
    """:func:`pyg_vig.graph.knn.backends.dense` through :func:`nearest_ragged`."""
    src, dst, base = query.src, query.dst, None
    layouts = query.layout_src, query.layout_dst
    common = torch.promote_types(src.dtype, dst.dtype)
    src, dst = src.to(common), dst.to(common)
    if not query.cosine:  # |x_i - x_j|^2 without |x_i|^2; centred, lest large numbers cancel
        center = layouts[0].pool(src, "mean")
        src = src - layouts[0].expand(center)
        dst = src if query.dst is query.src else dst - layouts[1].expand(center)
        base = src.square().sum(1)
    ragged = not (layouts[0].is_equal and layouts[1].is_equal)
    ptr_src, ptr_dst = (_pointer(layout, src.device) if ragged else None for layout in layouts)
    find = ragged_operator if torch.compiler.is_compiling() else nearest_ragged
    num_graphs = layouts[0].num_graphs
    return find(src, dst, base, query.bias, ptr_src, ptr_dst, num_graphs, query.count, query.loop, query.cosine)


def _pointer(layout: Layout, device: torch.device) -> Tensor:
    sizes = layout.sizes().to(device)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _spans(ptr: Tensor | None, rows: Tensor, num_graphs: int) -> list[slice]:
    """The rows of every graph."""
    size = rows.size(0) // max(num_graphs, 1)
    starts = [graph * size for graph in range(num_graphs + 1)] if ptr is None else ptr.tolist()
    return [slice(start, stop) for start, stop in pairwise(starts)]


def _distances(src: Tensor, dst: Tensor, base: Tensor | None, bias: Tensor | None) -> Tensor:
    distance = -2 * (at_least_float32(dst) @ at_least_float32(src).mT)
    for start in (base, bias):
        distance = distance if start is None else distance + start
    return distance


def _smallest(distance: Tensor, count: int, loop: bool | None) -> Tensor:
    """Columns of the smallest entries of every row; of equals the lower column, a NaN is infinitely far."""
    distance = distance.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = distance.sort(dim=1, stable=True).indices
    if loop is None:
        return order[:, :count]
    node = torch.arange(distance.size(0), device=distance.device).unsqueeze(1)
    itself = order == node
    front = torch.where(itself, 0 if loop else 2, 1).sort(dim=1, stable=True).indices  # itself first, or last
    return order.gather(1, front)[:, :count]
