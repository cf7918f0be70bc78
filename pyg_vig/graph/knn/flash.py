r"""k nearest neighbours without a distance matrix: the operator, and the search over layouts built on it.

The distance from a source :math:`j` to a destination :math:`i` is, up to a term that is the same for all sources,
:math:`b_j + B_{ij} - 2 \langle x_i, x_j \rangle`. Ties go to the source with the lower row number, both in the kernel
and in plain PyTorch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pyg_vig import triton_kernels
from pyg_vig.graph.knn.nearest import unit_rows
from pyg_vig.graph.knn.query import Query
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import register_operator

MAX_COUNT = 256  # most neighbours that the kernel can keep in registers


def nearest_ragged(
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
    """Find the ``count`` nearest sources of every destination in its graph, nearest first: rows ``(N_dst, count)``.

    Args:
        src: sources, ``(N_src, C)``; finite unless ``cosine``. Products are computed to float32 precision.
        dst: destinations, ``(N_dst, C)``.
        src_bias: term of every source that is added to its distances, ``(N_src,)``.
        pair_bias: term of every pair that is added to its distance, ``(n_dst, n_src)``, for graphs of equal size.
        ptr_src: first source of every graph, and the end, ``(B + 1,)``; ``None`` for graphs of equal size.
        ptr_dst: first destination of every graph, and the end; ``None`` if ``ptr_src`` is.
        num_graphs: number of graphs ``B``.
        count: number of neighbours; graphs with destinations must have at least as many sources.
        loop: ``True``: a node is its own first neighbour; ``False``: never its own neighbour; ``None``: no exception.
        cosine: normalise the rows to unit length, see :func:`pyg_vig.graph.knn.nearest.unit_rows`.
    """
    if supports_search(src, count):
        from pyg_vig.triton_kernels import knn

        rows = [part if part is None else part.contiguous() for part in (src, dst, src_bias, pair_bias)]
        return knn.nearest(*rows, ptr_src, ptr_dst, num_graphs, count, loop, cosine)
    if cosine:
        src, dst = unit_rows(at_least_float32(src), at_least_float32(dst))
    parts = [dst.new_empty(0, count, dtype=torch.int64)]
    for sources, targets in zip(
        _graph_slices(ptr_src, src, num_graphs), _graph_slices(ptr_dst, dst, num_graphs), strict=True
    ):
        if targets.start < targets.stop:
            distance = _distances(
                src[sources], dst[targets], None if src_bias is None else src_bias[sources], pair_bias
            )
            parts.append(sources.start + _nearest_columns(distance, count, loop))
    return torch.cat(parts)


ragged_operator = register_operator(nearest_ragged)  # for torch.compile


@torch.library.register_fake("pyg_vig::nearest_ragged")
def _(
    src: Tensor,
    dst: Tensor,
    src_bias: Any,
    pair_bias: Any,
    ptr_src: Any,
    ptr_dst: Any,
    graphs: int,
    count: int,
    *_: Any,
) -> Tensor:
    return dst.new_empty(dst.size(0), count, dtype=torch.int64)


def supports_search(src: Tensor, count: int) -> bool:
    """Whether the kernel can find ``count`` neighbours among rows like ``src``. (It does not support float64.)"""
    return triton_kernels.is_supported(src) and src.dtype != torch.float64 and count <= MAX_COUNT


def search(query: Query) -> Tensor:
    """:func:`pyg_vig.graph.knn.backends.dense_search` by :func:`nearest_ragged`."""
    src, dst, src_bias = query.src, query.dst, None
    layouts = query.layout_src, query.layout_dst
    dtype = torch.promote_types(src.dtype, dst.dtype)
    src, dst = src.to(dtype), dst.to(dtype)
    if not query.cosine:  # |x_i - x_j|^2 - |x_i|^2; centred to avoid cancellation
        center = layouts[0].pool(src, "mean")
        src = src - layouts[0].expand(center)
        dst = src if query.dst is query.src else dst - layouts[1].expand(center)
        src_bias = src.square().sum(1)
    ragged = not (layouts[0].is_equal and layouts[1].is_equal)
    ptr_src, ptr_dst = (_ptr(layout, src.device) if ragged else None for layout in layouts)
    find_nearest = ragged_operator if torch.compiler.is_compiling() else nearest_ragged
    num_graphs = layouts[0].num_graphs
    return find_nearest(
        src, dst, src_bias, query.bias, ptr_src, ptr_dst, num_graphs, query.count, query.loop, query.cosine
    )


def _ptr(layout: Layout, device: torch.device) -> Tensor:
    sizes = layout.sizes().to(device)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _graph_slices(ptr: Tensor | None, rows: Tensor, num_graphs: int) -> list[slice]:
    """Row ranges of the graphs."""
    size = rows.size(0) // max(num_graphs, 1)
    starts = [graph * size for graph in range(num_graphs + 1)] if ptr is None else ptr.tolist()
    return [slice(start, stop) for start, stop in pairwise(starts)]


def _distances(src: Tensor, dst: Tensor, src_bias: Tensor | None, pair_bias: Tensor | None) -> Tensor:
    distance = -2 * (at_least_float32(dst) @ at_least_float32(src).mT)
    for term in (src_bias, pair_bias):
        distance = distance if term is None else distance + term
    return distance


def _nearest_columns(distance: Tensor, count: int, loop: bool | None) -> Tensor:
    """Columns of the smallest entries of every row; ties go to the lower column, and NaN counts as infinity."""
    distance = distance.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = distance.sort(dim=1, stable=True).indices
    if loop is None:
        return order[:, :count]
    node = torch.arange(distance.size(0), device=distance.device).unsqueeze(1)
    is_self = order == node
    positions = (
        torch.where(is_self, 0 if loop else 2, 1).sort(dim=1, stable=True).indices
    )  # the node itself first, or last
    return order.gather(1, positions)[:, :count]
