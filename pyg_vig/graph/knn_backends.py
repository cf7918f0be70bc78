"""How nearest neighbours are found: by matrix products in chunks, by torch_cluster, or by pyg-lib."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from pyg_vig.graph import flash_knn
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.nearest import smallest

BACKENDS = ("auto", "dense", "torch_cluster", "pyg_lib")
CHUNK = 1 << 23  # distances held at a time (32 MiB in float32)
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
    if _is_uneven(layout_src) or _is_uneven(layout_dst):
        return _graph_by_graph(src, dst, layout_src, layout_dst, count, self_loops, cosine)
    sources, real = _stack(src, layout_src)  # (B, m, C)
    targets, wanted = _stack(dst, layout_dst)  # (B, n, C)
    sizes = None if real is None else real.sum(1).view(-1, 1, 1)
    base = None
    if not cosine:  # |x_i - x_j|^2 without |x_i|^2, the same along a row; centred, lest large numbers cancel
        center = sources.sum(1, keepdim=True) / (sources.size(1) if sizes is None else sizes.clamp(min=1))
        sources, targets = sources - center, targets - center
        base = sources.square().sum(2)  # (B, m)
    if real is not None:  # padding is infinitely far
        base = (0 if base is None else base) + torch.where(real, 0, torch.inf).to(src.dtype)
    index = _nearest(sources, targets, base, bias, count, self_loops)  # (B, n, count)
    if sizes is None:
        index = index + torch.arange(sources.size(0), device=src.device).view(-1, 1, 1) * sources.size(1)
    else:
        index = torch.minimum(index, sizes - 1)  # a distance that overflows ties with the padding
        index = index + sizes.cumsum(0) - sizes
    return index.view(-1, count) if wanted is None else index[wanted]


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


def _nearest(
    sources: Tensor, targets: Tensor, base: Tensor | None, bias: Tensor | None, count: int, self_loops: bool | None
) -> Tensor:
    """Columns of the smallest ``base + bias - 2 targets @ sources^T``, a chunk of graphs (or of rows) at a time."""
    own = torch.nan
    if self_loops is False or (self_loops and bias is None):  # a bias ranks the node itself, as published
        own = -torch.inf if self_loops else torch.inf

    def search(graphs: slice, rows: slice, out: Tensor | None = None) -> Tensor:
        return smallest(
            torch.bmm(targets[graphs, rows], sources[graphs].mT, out=out),
            count,
            factor=-2.0,
            base=None if base is None else base[graphs],
            bias=None if bias is None else bias[rows],
            diagonal=rows.start or 0,
            own=own,
        )

    (graphs, n), m = targets.shape[:2], sources.size(1)
    if torch.compiler.is_compiling() or graphs * n * m <= CHUNK:
        return search(slice(None), slice(None))
    # One buffer for all chunks: fresh ones cost page faults each, and over many chunks fragment the heap.
    buffer = targets.new_empty(max(CHUNK, m))
    index = torch.empty(graphs, n, count, dtype=torch.int64, device=targets.device)
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


def tree(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    backend: str,
) -> Tensor:
    """The same by a library for low dimensions."""
    find = _load(backend)
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
