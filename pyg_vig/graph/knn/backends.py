"""Backends of the nearest-neighbour search: matrix products in chunks, torch_cluster, and pyg-lib."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from pyg_vig.graph.knn import flash
from pyg_vig.graph.knn.nearest import nearest, unit_rows
from pyg_vig.graph.knn.query import Query
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.precision import at_least_float32

BACKENDS = ("auto", "dense", "torch_cluster", "pyg_lib")
_MAX_TREE_DIMENSIONS = 8  # up to this dimension a k-d tree beats the matrix product


def choose_backend(src: Tensor, layout: Layout, bias: Tensor | None) -> str:
    """Choose the backend for ``"auto"``. (Off the CPU, torch_cluster has no k-d tree and may lose edges.)"""
    if bias is not None or src.device.type != "cpu" or torch.compiler.is_compiling():
        return "dense"
    prefers_tree = src.size(1) <= _MAX_TREE_DIMENSIONS and (not layout.is_equal or layout.nodes_per_graph > 2048)
    return "torch_cluster" if prefers_tree and is_installed("torch_cluster") else "dense"


@cache
def is_installed(library: str) -> bool:
    """Whether a library is installed, without importing it."""
    return importlib.util.find_spec(library) is not None


def dense_search(query: Query) -> Tensor:
    """Find the nearest sources of every destination by matrix products: rows ``(N_dst, count)``, nearest first."""
    if flash.supports_search(query.src, query.count):
        return flash.search(query)
    src, dst = _at_least_float32(query)
    layout_src, layout_dst = query.layout_src, query.layout_dst
    if _is_uneven(layout_src) or _is_uneven(layout_dst):
        return _graph_by_graph(replace(query, src=src, dst=dst))
    sources, mask = _group_by_graph(src, layout_src)  # (B, m, C)
    targets, mask_dst = (sources, mask) if dst is src else _group_by_graph(dst, layout_dst)  # (B, n, C)
    sizes = None if mask is None else mask.sum(1).view(-1, 1, 1)
    src_bias = None
    if not query.cosine:  # |x_i - x_j|^2 - |x_i|^2, as |x_i|^2 is constant in a row; centred to avoid cancellation
        center = sources.sum(1, keepdim=True) / (sources.size(1) if sizes is None else sizes.clamp(min=1))
        centered = sources - center
        sources, targets = centered, centered if targets is sources else targets - center
        src_bias = sources.square().sum(2)  # (B, m)
    if mask is not None:  # padding is infinitely far away
        src_bias = (0 if src_bias is None else src_bias) + torch.where(mask, 0, torch.inf).to(src.dtype)
    index = nearest(
        sources,
        targets,
        query.count,
        src_bias=src_bias,
        pair_bias=query.bias,
        cosine=query.cosine,
        loop=query.loop,
        index_offset=sources.size(1) if sizes is None else 0,
    )  # (B, n, count)
    if sizes is not None:
        index = torch.minimum(index, sizes - 1)  # distances that overflow tie with the padding
        index = index + sizes.cumsum(0) - sizes
    return index.view(-1, query.count) if mask_dst is None else index[mask_dst]


def _at_least_float32(query: Query) -> tuple[Tensor, Tensor]:
    """Sources and destinations in at least float32; they stay the same object if they were."""
    src = at_least_float32(query.src)
    return src, src if query.dst is query.src else at_least_float32(query.dst)


def _is_uneven(layout: Layout) -> bool:
    """Whether padding all graphs to the largest size would multiply the memory of the nodes."""
    return not layout.is_equal and layout.num_graphs * int(layout.sizes().max()) > 4 * layout.num_nodes


def _graph_by_graph(query: Query) -> Tensor:
    parts, offset = [], 0
    sizes_src, sizes_dst = query.layout_src.sizes().tolist(), query.layout_dst.sizes().tolist()
    for src, dst in zip(query.src.split(sizes_src), query.dst.split(sizes_dst), strict=True):
        layout_src, layout_dst = (Layout.from_equal(1, rows.size(0)) for rows in (src, dst))
        if dst.size(0):
            parts.append(
                offset + dense_search(replace(query, src=src, dst=dst, layout_src=layout_src, layout_dst=layout_dst))
            )
        offset += src.size(0)
    return torch.cat(parts)


def _group_by_graph(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Node rows grouped by graph, ``(B, n, C)``, and a mask of the real (not padded) ones if sizes differ."""
    if layout.is_equal:
        return x.view(layout.num_graphs, layout.nodes_per_graph, -1), None
    return to_dense_batch(x, layout.batch, batch_size=layout.num_graphs)


def tree_search(query: Query, backend: str) -> Tensor:
    """:func:`dense_search` by an external library, for low dimensions; does not support a bias."""
    knn, count, loop = _load_knn(backend), query.count, query.loop
    src, dst = unit_rows(*_at_least_float32(query)) if query.cosine else (query.src, query.dst)
    sizes = query.layout_src.sizes()
    num_candidates = count if loop is None else min(count + 1, int(sizes[sizes > 0].min()))  # one more, the node itself
    batches = query.layout_src.batch_vector(src.device), query.layout_dst.batch_vector(dst.device)
    edges = knn(src.contiguous(), dst.contiguous(), num_candidates, *batches)
    if edges.size(1) != dst.size(0) * num_candidates:
        expected = dst.size(0) * num_candidates
        raise RuntimeError(f"{backend} returned {edges.size(1)} of {expected} edges: use backend='dense'")
    index = edges[1].view(dst.size(0), num_candidates)
    if loop is None:
        return index
    node = torch.arange(dst.size(0), device=index.device).unsqueeze(1)
    others = index.gather(1, (index == node).to(torch.uint8).sort(dim=1, stable=True).indices)  # the node itself last
    return torch.cat([node, others], 1)[:, :count] if loop else others[:, :count]


def _load_knn(backend: str) -> Callable[..., Tensor]:
    if not is_installed(backend):
        package = "pyg-lib" if backend == "pyg_lib" else "torch_cluster (pip install 'pyg-vig[cluster]')"
        raise ValueError(f"backend={backend!r} needs {package}: install it, or use backend='dense'")
    if backend == "pyg_lib":
        from torch_geometric.nn import knn
    else:
        from torch_cluster import knn
    return knn
