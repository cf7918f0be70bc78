"""How nearest neighbours are found: by matrix products in chunks, by torch_cluster, or by pyg-lib."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from pyg_vig.graph import flash_knn
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.nearest import directions, nearest
from pyg_vig.graph.precision import at_least_float32

BACKENDS = ("auto", "dense", "torch_cluster", "pyg_lib")
_TREE_DIMENSIONS = 8  # up to here a k-d tree beats the matrix product


def choose(src: Tensor, layout: Layout, bias: Tensor | None) -> str:
    """The backend that ``"auto"`` stands for. (On other devices torch_cluster has no tree, and may lose edges.)"""
    if bias is not None or src.device.type != "cpu" or torch.compiler.is_compiling():
        return "dense"
    tree_suits = src.size(1) <= _TREE_DIMENSIONS and (not layout.is_equal or layout.nodes_per_graph > 2048)
    return "torch_cluster" if tree_suits and is_installed("torch_cluster") else "dense"


def is_installed(library: str) -> bool:
    """Whether the library can be found, without importing it."""
    return importlib.util.find_spec(library) is not None


def dense(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    bias: Tensor | None,
    cosine: bool,
) -> Tensor:
    """Rows of the ``count`` nearest sources of every destination, ``(N_dst, count)``, by matrix products."""
    if flash_knn.serves_search(src, count):
        return flash_knn.search(src, dst, layout_src, layout_dst, count, self_loops, bias, cosine)
    src, dst = _precise_pair(src, dst)
    if _is_uneven(layout_src) or _is_uneven(layout_dst):
        return _graph_by_graph(src, dst, layout_src, layout_dst, count, self_loops, cosine)
    sources, real = _stack(src, layout_src)  # (B, m, C)
    targets, wanted = (sources, real) if dst is src else _stack(dst, layout_dst)  # (B, n, C)
    sizes = None if real is None else real.sum(1).view(-1, 1, 1)
    base = None
    if not cosine:  # |x_i - x_j|^2 without |x_i|^2, the same along a row; centred, lest large numbers cancel
        center = sources.sum(1, keepdim=True) / (sources.size(1) if sizes is None else sizes.clamp(min=1))
        sources, targets = sources - center, targets - center
        base = sources.square().sum(2)  # (B, m)
    if real is not None:  # padding is infinitely far
        base = (0 if base is None else base) + torch.where(real, 0, torch.inf).to(src.dtype)
    own = math.nan
    if self_loops is False or (self_loops and bias is None):  # a bias ranks the node itself, as published
        own = -math.inf if self_loops else math.inf
    step = sources.size(1) if sizes is None else 0
    index = nearest(sources, targets, count, base=base, bias=bias, cosine=cosine, own=own, step=step)  # (B, n, count)
    if sizes is not None:
        index = torch.minimum(index, sizes - 1)  # a distance that overflows ties with the padding
        index = index + sizes.cumsum(0) - sizes
    return index.view(-1, count) if wanted is None else index[wanted]


def _precise_pair(src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor]:
    """Both in at least float32; one matrix stays one."""
    sources = at_least_float32(src)
    return sources, sources if dst is src else at_least_float32(dst)


def _is_uneven(layout: Layout) -> bool:
    """Whether padding all graphs to the largest would take several times the memory of the nodes."""
    return not layout.is_equal and layout.num_graphs * int(layout.sizes().max()) > 4 * layout.num_nodes


def _graph_by_graph(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    cosine: bool,
) -> Tensor:
    found, first = [], 0
    sizes_src, sizes_dst = layout_src.sizes().tolist(), layout_dst.sizes().tolist()
    for sources, targets in zip(src.split(sizes_src), dst.split(sizes_dst), strict=True):
        layouts = [Layout.from_equal(1, rows.size(0)) for rows in (sources, targets)]
        if targets.size(0):
            found.append(first + dense(sources, targets, layouts[0], layouts[1], count, self_loops, None, cosine))
        first += sources.size(0)
    return torch.cat(found)


def _stack(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Node rows by graph, ``(B, n, C)``, with a mask of the real ones where sizes differ."""
    if layout.is_equal:
        return x.view(layout.num_graphs, layout.nodes_per_graph, -1), None
    return to_dense_batch(x, layout.batch, batch_size=layout.num_graphs)


def tree(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    cosine: bool,
    backend: str,
) -> Tensor:
    """The same by a library for low dimensions."""
    find = _load(backend)
    if cosine:
        src, dst = directions(*_precise_pair(src, dst))
    sizes = layout_src.sizes()
    asked = count if self_loops is None else min(count + 1, int(sizes[sizes > 0].min()))  # one more: itself
    batch_src, batch_dst = layout_src.batch_vector(src.device), layout_dst.batch_vector(dst.device)
    edges = find(src.contiguous(), dst.contiguous(), asked, batch_src, batch_dst)
    if edges.size(1) != dst.size(0) * asked:
        raise RuntimeError(f"{backend} lost edges ({edges.size(1)} of {dst.size(0) * asked}): use backend='dense'")
    index = edges[1].view(dst.size(0), asked)
    if self_loops is None:
        return index
    node = torch.arange(dst.size(0), device=index.device).unsqueeze(1)
    others = index.gather(1, (index == node).to(torch.uint8).sort(dim=1, stable=True).indices)  # itself last
    return torch.cat([node, others], 1)[:, :count] if self_loops else others[:, :count]


def _load(backend: str) -> Callable[..., Tensor]:
    if not is_installed(backend):
        package = "pyg-lib" if backend == "pyg_lib" else "torch_cluster: pip install 'pyg-vig[cluster]'"
        raise ValueError(f"backend={backend!r} needs {package} (backend='dense' needs nothing)")
    if backend == "pyg_lib":
        from torch_geometric.nn import knn
    else:
        from torch_cluster import knn
    return knn
