"""k-nearest-neighbour graphs: dense and in chunks, by torch_cluster, or by pyg-lib."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import to_dense_batch

from pyg_vig.graph.adjacency import NeighborTable
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.nearest import smallest

T = TypeVar("T")
Pair: TypeAlias = T | tuple[T, T]  # one for both sides, or (source, destination), as in PyG's bipartite graphs

BACKENDS = ("auto", "dense", "torch_cluster", "pyg_lib")
_CHUNK = 1 << 23  # distances held at a time (32 MiB in float32)
_TREE_DIMENSIONS = 8  # up to here a k-d tree beats the matrix product


def knn_graph(
    x: Pair[Tensor],
    k: int,
    batch: Pair[Tensor | None] = None,
    *,
    cosine: bool = False,
    loop: bool = True,
    dilation: int = 1,
    epsilon: float = 0.0,
    bias: Tensor | None = None,
    backend: str = "auto",
) -> EdgeIndex:
    r"""Edges from the :math:`k` nearest source nodes to every destination node of the same graph.

    With ``cosine`` and dilation :math:`d` this is ViG's graph (`"Vision GNN" <https://arxiv.org/abs/2206.00272>`_):
    of the :math:`k d` nearest by the distance

    .. math::
        D_{ij} = \| \hat x_i - \hat x_j \|^2 + B_{ij}, \qquad \hat x = x / \|x\|

    every :math:`d`-th is taken. No gradient flows through the choice of neighbours. The memory is linear in the
    number of nodes: at most 32 MiB of distances are held at a time.

    Args:
        x: node features ``(N, C)``, or a pair ``(x_src, x_dst)`` where neighbours come from another node set.
        k: neighbours of every node.
        batch: graph of every node ``(N,)``, sorted (PyG's batch vector), or a pair; ``None`` for one graph.
        cosine: compare directions (ViG) instead of Euclidean distances.
        loop: a node is its own first neighbour, as in the published code; otherwise it is never its own neighbour.
            Without effect on a pair.
        dilation: take every ``dilation``-th of the ``k * dilation`` nearest.
        epsilon: with this probability take a random ``k`` of them instead (one draw a call).
        bias: added to the squared distance, ``(n_dst, n_src)``, the same for every graph (all of equal size).
        backend: ``"dense"`` (matrix products), ``"torch_cluster"`` or ``"pyg_lib"`` (k-d trees and CUDA kernels);
            ``"auto"`` takes torch_cluster for ragged or large sets in up to 8 dimensions, dense otherwise.

    Returns:
        ``EdgeIndex`` of shape ``(2, N_dst * k)``, sorted by destination, nearest neighbour first.

    Raises:
        ValueError: if ``k * dilation`` exceeds the smallest graph, or an argument has the wrong shape.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import knn_graph
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn_graph(x, k=2).tolist()
        [[0, 1, 1, 0, 2, 1], [0, 0, 1, 1, 2, 2]]
    """
    src, dst = _pair(x)
    batch_src, batch_dst = batch if isinstance(batch, tuple) else (batch, batch)
    layouts = [
        Layout.from_equal(1, rows.size(0)) if vector is None else Layout.from_batch(vector)
        for rows, vector in ((src, batch_src), (dst, batch_dst))
    ]
    table = knn_table(
        x if isinstance(x, tuple) else src,
        k,
        (layouts[0], layouts[1]),
        cosine=cosine,
        loop=loop,
        dilation=dilation,
        epsilon=epsilon,
        bias=bias,
        backend=backend,
    )
    return table.edge_index


@torch.no_grad()
def knn_table(
    x: Pair[Tensor],
    k: int,
    layout: Pair[Layout],
    *,
    cosine: bool = False,
    loop: bool = True,
    dilation: int = 1,
    epsilon: float = 0.0,
    bias: Tensor | None = None,
    backend: str = "auto",
) -> NeighborTable:
    """:func:`knn_graph` for nodes grouped by a :class:`~pyg_vig.graph.Layout`, as a table of neighbours."""
    (src, dst), (layout_src, layout_dst) = _pair(x), _pair(layout)
    self_loops = None if isinstance(x, tuple) else loop
    count = k * dilation
    _check(src, dst, layout_src, layout_dst, k, dilation, self_loops, bias, backend)
    if dst.size(0) == 0:
        return NeighborTable(torch.empty(0, k, dtype=torch.int64, device=dst.device), src.size(0))
    same, src = src is dst, _comparable(src, cosine)
    dst = src if same else _comparable(dst, cosine)
    if backend == "auto":
        backend = _choose(src, layout_src, bias)
    if backend == "dense":
        index = _dense(src, dst, layout_src, layout_dst, count, self_loops, bias, cosine)
    else:
        index = _tree(src, dst, layout_src, layout_dst, count, self_loops, backend)
    return NeighborTable(_dilate(index, k, dilation, epsilon), src.size(0))


class KNNGraph(torch.nn.Module):
    r"""Builds the k-NN graph of the features: a graph builder ``(x, layout) -> adjacency``.

    Args:
        k: neighbours of every node.
        dilation: take every ``dilation``-th of the ``k * dilation`` nearest. Lowered in graphs that hold fewer nodes,
            in each by itself, so that a batch of graphs gives what its members give one by one.
        cosine: compare directions, as ViG does, instead of Euclidean distances.
        loop: a node is its own first neighbour.
        epsilon: probability, in training, of a random choice among the ``k * dilation`` nearest.
        position: module ``layout -> bias`` for the additive position term, or ``None``.
        backend: see :func:`knn_graph`.

    Shapes:
        - **x**: node matrix ``(N, C)`` or a pair ``(x_src, x_dst)``
        - **layout**: :class:`~pyg_vig.graph.Layout` (or a pair), a batch vector, or ``None`` for one graph
        - **output**: :class:`~pyg_vig.graph.NeighborTable` with ``(N_dst, k)`` neighbours

    Example:
        >>> import torch
        >>> from pyg_vig.graph import KNNGraph
        >>> KNNGraph(k=4)(torch.rand(10, 3))
        NeighborTable(num_src=10, num_dst=10, k=4)
    """

    def __init__(
        self,
        k: int = 9,
        dilation: int = 1,
        *,
        cosine: bool = False,
        loop: bool = True,
        epsilon: float = 0.0,
        position: torch.nn.Module | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if k < 1 or dilation < 1:
            raise ValueError(f"k and dilation must be at least 1, got k={k}, dilation={dilation}")
        self.k = k
        self.dilation = dilation
        self.cosine = cosine
        self.loop = loop
        self.epsilon = epsilon
        self.position = position
        self.backend = backend

    def extra_repr(self) -> str:
        return f"k={self.k}, dilation={self.dilation}, cosine={self.cosine}"

    def forward(self, x: Pair[Tensor], layout: Pair[Layout] | Tensor | None = None) -> NeighborTable:
        """Find the neighbours of every node."""
        layout_src, layout_dst = (_as_layout(entry, rows) for entry, rows in zip(_pair(layout), _pair(x), strict=True))
        if self.dilation == 1:
            return self._search(x, (layout_src, layout_dst), 1)
        excluded = int(not self.loop and not isinstance(x, tuple))  # the node itself
        if layout_src.is_equal:
            fitting = (layout_src.nodes_per_graph - excluded) // self.k
            return self._search(x, (layout_src, layout_dst), max(1, min(self.dilation, fitting)))
        dilations = ((layout_src.sizes() - excluded) // self.k).clamp(1, self.dilation)
        return self._search_by_dilation(x, (layout_src, layout_dst), dilations)

    def _search(self, x: Pair[Tensor], layouts: tuple[Layout, Layout], dilation: int) -> NeighborTable:
        return knn_table(
            x,
            self.k,
            layouts,
            cosine=self.cosine,
            loop=self.loop,
            dilation=dilation,
            epsilon=self.epsilon if self.training else 0.0,
            bias=None if self.position is None else self.position(layouts[1]),
            backend=self.backend,
        )

    def _search_by_dilation(self, x: Pair[Tensor], layouts: tuple[Layout, Layout], dilations: Tensor) -> NeighborTable:
        """Every graph with its own dilation, so that it has the neighbours it would have without the others."""
        (src, dst), distinct = _pair(x), dilations[layouts[1].sizes() > 0].unique().tolist()
        if len(distinct) < 2:
            return self._search(x, layouts, distinct[0] if distinct else 1)
        index = torch.empty(dst.size(0), self.k, dtype=torch.int64, device=dst.device)
        for dilation in distinct:
            rows = [layout.expand(dilations == dilation).nonzero().flatten() for layout in layouts]
            chosen = [
                Layout.from_batch(layout.batch_vector(src.device)[kept], layout.num_graphs)
                for layout, kept in zip(layouts, rows, strict=True)
            ]
            nodes = (src[rows[0]], dst[rows[1]]) if isinstance(x, tuple) else src[rows[0]]
            index[rows[1]] = rows[0][self._search(nodes, (chosen[0], chosen[1]), dilation).index]
        return NeighborTable(index, src.size(0))


def _pair(value: Pair[T]) -> tuple[T, T]:
    return value if isinstance(value, tuple) else (value, value)


def _as_layout(value: Layout | Tensor | None, rows: Tensor) -> Layout:
    if value is None:
        return Layout.from_equal(1, rows.size(0))
    return Layout.from_batch(value) if isinstance(value, Tensor) else value


def _check(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    k: int,
    dilation: int,
    self_loops: bool | None,
    bias: Tensor | None,
    backend: str,
) -> None:
    if src.dim() != 2 or dst.dim() != 2 or src.size(1) != dst.size(1):
        raise ValueError(f"expected node matrices (N, C) of one width, got {tuple(src.shape)} and {tuple(dst.shape)}")
    if not (src.is_floating_point() and dst.is_floating_point()):
        raise ValueError(f"node features must be floating point, got {src.dtype} and {dst.dtype}")
    if k < 1 or dilation < 1:
        raise ValueError(f"k and dilation must be at least 1, got k={k}, dilation={dilation}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if src.device != dst.device:
        raise ValueError(f"source nodes are on {src.device}, destination nodes on {dst.device}: move them together")
    for rows, layout in ((src, layout_src), (dst, layout_dst)):
        if layout.batch is not None and layout.batch.device != rows.device:
            raise ValueError(f"x is on {rows.device} but batch on {layout.batch.device}: move them together")
        if rows.size(0) != layout.num_nodes:
            raise ValueError(f"{rows.size(0)} rows of features, but the layout (batch) has {layout.num_nodes} nodes")
    if layout_src.num_graphs != layout_dst.num_graphs:
        raise ValueError(f"{layout_src.num_graphs} source graphs, but {layout_dst.num_graphs} destination graphs")
    if bias is not None:
        if not (layout_src.is_equal and layout_dst.is_equal):
            raise ValueError("a position bias needs graphs of equal size")
        expected = (layout_dst.nodes_per_graph, layout_src.nodes_per_graph)
        if tuple(bias.shape) != expected:
            raise ValueError(f"bias must have shape (n_dst, n_src) = {expected}, got {tuple(bias.shape)}")
    _check_size(layout_src, layout_dst, k, dilation, self_loops)


def _check_size(layout_src: Layout, layout_dst: Layout, k: int, dilation: int, self_loops: bool | None) -> None:
    if layout_src.is_equal:
        available = layout_src.nodes_per_graph
    else:
        sizes, wanted = layout_src.sizes(), layout_dst.sizes() > 0  # a graph without nodes asks for no neighbours
        available = int(sizes[wanted].min()) if bool(wanted.any()) else k * dilation + 1
    available -= self_loops is False
    if k * dilation > available and layout_dst.num_nodes > 0:
        other = " other" if self_loops is False else ""
        product = f"k={k}" if dilation == 1 else f"k * dilation = {k} * {dilation} = {k * dilation}"
        raise ValueError(
            f"{product} neighbours asked of a graph with {available}{other} nodes: "
            f"lower k (or the dilation), or use larger graphs (for images, a larger size)"
        )


def _comparable(x: Tensor, cosine: bool) -> Tensor:
    """What distances are taken of: unit vectors for ``cosine`` (2 - 2 cos), and no NaN, which no order can place."""
    if cosine:
        return F.normalize(x, dim=-1).nan_to_num_(nan=0.0)
    return x.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _choose(src: Tensor, layout: Layout, bias: Tensor | None) -> str:
    tree_suits = src.size(1) <= _TREE_DIMENSIONS and (not layout.is_equal or layout.nodes_per_graph > 2048)
    if bias is None and tree_suits and not torch.compiler.is_compiling() and importlib.util.find_spec("torch_cluster"):
        return "torch_cluster"
    return "dense"


def _dense(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    bias: Tensor | None,
    cosine: bool,
) -> Tensor:
    """Top-k of matrix products, a chunk of graphs (in large graphs: of rows) at a time."""
    columns = None if cosine else src.square().sum(1, keepdim=True)  # |x_i|^2 is the same along a row: left out
    src, valid = _stack(src, layout_src)
    dst, wanted = _stack(dst * -2, layout_dst)
    columns = None if columns is None else _stack(columns, layout_src)[0].mT  # (B, 1, m)
    if valid is not None:  # padding is infinitely far
        columns = (0 if columns is None else columns) + torch.where(valid, 0, torch.inf).to(src.dtype).unsqueeze(1)
    nearest = []
    for graphs, rows in _chunks(src.size(0), dst.size(1), src.size(1)):
        base = _add(None if columns is None else columns[graphs], None if bias is None else bias[rows])
        left, right = dst[graphs, rows], src[graphs].mT
        distance = torch.bmm(left, right) if base is None else torch.baddbmm(base, left, right)
        if self_loops is not None and bias is None:  # a bias ranks the node itself, as in the published code
            distance.diagonal(rows.start or 0, 1, 2).fill_(-torch.inf if self_loops else torch.inf)
        nearest.append(smallest(distance, count))
    index = _join(nearest, src.size(0))
    if valid is None:
        index = index + torch.arange(src.size(0), device=src.device).view(-1, 1, 1) * src.size(1)
    else:
        sizes = valid.sum(1).view(-1, 1, 1)
        index = torch.minimum(index, sizes - 1)  # a distance that overflows ties with the padding
        index = index + sizes.cumsum(0) - sizes
    return index.view(-1, count) if wanted is None else index[wanted]


def _stack(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Node rows by graph, ``(B, n, C)``, with a mask of the real ones where sizes differ."""
    if layout.is_equal:
        return x.view(layout.num_graphs, layout.nodes_per_graph, -1), None
    return to_dense_batch(x, layout.batch, batch_size=layout.num_graphs)


def _chunks(graphs: int, n: int, m: int) -> Iterator[tuple[slice, slice]]:
    if torch.compiler.is_compiling():
        yield slice(None), slice(None)
        return
    graph_step, row_step = max(1, _CHUNK // max(1, n * m)), max(1, _CHUNK // max(1, m))
    for graph in range(0, graphs, graph_step):
        for row in range(0, n, row_step):
            yield slice(graph, graph + graph_step), slice(row, row + row_step)


def _join(parts: list[Tensor], graphs: int) -> Tensor:
    """Chunks of rows of one graph, or of whole graphs, back to ``(B, n, k)``."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.flatten(0, 1) for part in parts]).view(graphs, -1, parts[0].size(-1))


def _add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _tree(
    src: Tensor,
    dst: Tensor,
    layout_src: Layout,
    layout_dst: Layout,
    count: int,
    self_loops: bool | None,
    backend: str,
) -> Tensor:
    find = _load_tree(backend)
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


def _load_tree(backend: str) -> Callable[..., Tensor]:
    if backend == "pyg_lib":
        from torch_geometric.nn import knn
    else:
        try:
            from torch_cluster import knn
        except ImportError as error:
            raise ValueError("backend='torch_cluster' needs torch_cluster: pip install 'pyg-vig[cluster]'") from error
    return knn


def _dilate(index: Tensor, k: int, dilation: int, epsilon: float) -> Tensor:
    if epsilon > 0 and float(torch.rand(())) < epsilon:
        return index[:, torch.randperm(k * dilation, device=index.device)[:k]]
    return index if dilation == 1 else index[:, ::dilation].contiguous()
