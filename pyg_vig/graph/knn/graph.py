"""k-nearest-neighbour graphs."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from pyg_vig.graph.adjacency import NeighborTable
from pyg_vig.graph.knn.backends import BACKENDS, choose_backend, dense_search, tree_search
from pyg_vig.graph.knn.query import Query
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.precision import at_least_float32, without_autocast

T = TypeVar("T")
Pair: TypeAlias = T | tuple[T, T]  # one value for both sides, or (source, destination), as in PyG's bipartite graphs


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
    r"""Compute the k-NN graph: edges to every node from its :math:`k` nearest neighbours in the same graph.

    With ``cosine`` and dilation :math:`d` this is ViG's graph (`"Vision GNN" <https://arxiv.org/abs/2206.00272>`_): it
    takes every :math:`d`-th of the :math:`k d` nearest neighbours by the distance

    .. math::
        D_{ij} = \| \hat x_i - \hat x_j \|^2 + B_{ij}, \qquad \hat x = x / \|x\|

    No gradient flows through the choice of neighbours. The memory is linear in the number of nodes: the kernels
    store no distance matrix, and where none runs, ``"dense"`` computes the distances in chunks of at most 32 MiB
    (64 MiB in float64; at least one row). Only exported networks, and networks compiled for a GPU without a kernel,
    compute all distances at once.

    Args:
        x: node features ``(N, C)``, or a pair ``(x_src, x_dst)`` if the neighbours come from another set of nodes.
        k: number of neighbours of every node.
        batch: graph index of every node ``(N,)``, sorted (PyG's batch vector), or a pair; ``None`` for one graph.
        cosine: use cosine similarity, as ViG does, instead of Euclidean distance.
        loop: whether every node is its own first neighbour, as in the published code; if not, it is never its own
            neighbour. Has no effect on a pair.
        dilation: take every ``dilation``-th of the ``k * dilation`` nearest.
        epsilon: probability of taking ``k`` of them at random instead (one draw per call).
        bias: added to the squared distances, ``(n_dst, n_src)``, the same for all graphs, which must have equal size.
        backend: ``"dense"`` (matrix products), ``"torch_cluster"`` or ``"pyg_lib"`` (k-d trees and CUDA kernels);
            ``"auto"`` uses torch_cluster, if installed, for ragged or large sets in up to 8 dimensions on the CPU, and
            dense otherwise.

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
    table = knn_table(
        x,
        k,
        _layouts(src, dst, batch_src, batch_dst),
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
    """:func:`knn_graph` for nodes grouped by a :class:`~pyg_vig.graph.Layout`, returned as a table of neighbours.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout, knn_table
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [0.0], [2.0], [3.0]])
        >>> knn_table(x, 2, Layout.from_equal(2, 3)).index.tolist()
        [[0, 1], [1, 0], [2, 1], [3, 4], [4, 5], [5, 4]]
    """
    (src, dst), (layout_src, layout_dst) = _pair(x), _pair(layout)
    self_loops = None if isinstance(x, tuple) else loop
    _check_arguments(src, dst, layout_src, layout_dst, k, dilation, self_loops, bias, backend)
    if dst.size(0) == 0:
        return NeighborTable(torch.empty(0, k, dtype=torch.int64, device=dst.device), src.size(0))
    is_shared, src = src is dst, _clean_features(src, cosine)
    dst = src if is_shared else _clean_features(dst, cosine)
    if backend == "auto":
        backend = choose_backend(src, layout_src, bias)
    if self_loops and bias is not None:
        self_loops = None  # with a bias, the node itself is ranked like any other, as in the published code
    query = Query(src, dst, layout_src, layout_dst, k * dilation, self_loops, bias, cosine)
    with without_autocast(src.device):
        index = dense_search(query) if backend == "dense" else tree_search(query, backend)
    return NeighborTable(_dilate(index, k, dilation, epsilon), src.size(0))


class KNNGraph(torch.nn.Module):
    r"""Builds the k-NN graph of the features: a graph builder ``(x, layout) -> adjacency``.

    Args:
        k: number of neighbours of every node.
        dilation: take every ``dilation``-th of the ``k * dilation`` nearest. It is lowered in each graph with fewer
            nodes, so that the neighbours in a graph do not depend on the other graphs of the batch.
        cosine: use cosine similarity, as ViG does, instead of Euclidean distance.
        loop: whether every node is its own first neighbour.
        epsilon: probability, in training, of choosing neighbours at random among the ``k * dilation`` nearest.
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
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must be a probability in [0, 1], got {epsilon}")
        self.k = k
        self.dilation = dilation
        self.cosine = cosine
        self.loop = loop
        self.epsilon = epsilon
        self.position = position
        self.backend = backend

    def extra_repr(self) -> str:
        options = f"k={self.k}, dilation={self.dilation}, cosine={self.cosine}, loop={self.loop}"
        return f"{options}, epsilon={self.epsilon}, backend={self.backend!r}"

    def forward(self, x: Pair[Tensor], layout: Pair[Layout] | Tensor | None = None) -> NeighborTable:
        """Find the neighbours of every node."""
        layout_src, layout_dst = _layouts(*_pair(x), *_pair(layout))
        if self.dilation == 1:
            return self._search(x, (layout_src, layout_dst), 1)
        excluded = int(not self.loop and not isinstance(x, tuple))  # the node itself
        if layout_src.is_equal:
            max_dilation = (layout_src.nodes_per_graph - excluded) // self.k
            return self._search(x, (layout_src, layout_dst), max(1, min(self.dilation, max_dilation)))
        dilations = ((layout_src.sizes() - excluded) // self.k).clamp(1, self.dilation)
        return self._search_per_dilation(x, (layout_src, layout_dst), dilations)

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

    def _search_per_dilation(self, x: Pair[Tensor], layouts: tuple[Layout, Layout], dilations: Tensor) -> NeighborTable:
        """Search with a dilation for every graph, so that its neighbours do not depend on the other graphs."""
        (src, dst), distinct = _pair(x), dilations[layouts[1].sizes() > 0].unique().tolist()
        if len(distinct) < 2:
            return self._search(x, layouts, distinct[0] if distinct else 1)
        index = torch.empty(dst.size(0), self.k, dtype=torch.int64, device=dst.device)
        for dilation in distinct:
            rows = [layout.expand(dilations == dilation).nonzero().flatten() for layout in layouts]
            sub_layouts = [
                Layout.from_batch(layout.batch_vector(src.device)[node_index], layout.num_graphs)
                for layout, node_index in zip(layouts, rows, strict=True)
            ]
            nodes = (src[rows[0]], dst[rows[1]]) if isinstance(x, tuple) else src[rows[0]]
            index[rows[1]] = rows[0][self._search(nodes, (sub_layouts[0], sub_layouts[1]), dilation).index]
        return NeighborTable(index, src.size(0))


def _pair(value: Pair[T]) -> tuple[T, T]:
    return value if isinstance(value, tuple) else (value, value)


def _layouts(
    src: Tensor, dst: Tensor, given_src: Layout | Tensor | None, given_dst: Layout | Tensor | None
) -> tuple[Layout, Layout]:
    """Layouts of both sides; with two batch vectors, the last graphs may have nodes on one side only."""
    layout_src, layout_dst = _as_layout(given_src, src), _as_layout(given_dst, dst)
    if (
        isinstance(given_src, Tensor)
        and isinstance(given_dst, Tensor)
        and layout_src.num_graphs != layout_dst.num_graphs
    ):
        num_graphs = max(layout_src.num_graphs, layout_dst.num_graphs)
        return Layout.from_batch(given_src, num_graphs), Layout.from_batch(given_dst, num_graphs)
    return layout_src, layout_dst


def _as_layout(value: Layout | Tensor | None, rows: Tensor) -> Layout:
    if value is None:
        return Layout.from_equal(1, rows.size(0))
    return Layout.from_batch(value) if isinstance(value, Tensor) else value


def _check_arguments(
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
        raise ValueError(f"expected node matrices (N, C) with equal C, got {tuple(src.shape)} and {tuple(dst.shape)}")
    if not (src.is_floating_point() and dst.is_floating_point()):
        raise ValueError(f"node features must be floating point, got {src.dtype} and {dst.dtype}")
    if k < 1 or dilation < 1:
        raise ValueError(f"k and dilation must be at least 1, got k={k}, dilation={dilation}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if src.device != dst.device:
        raise ValueError(
            f"source nodes are on {src.device}, destination nodes on {dst.device}: move them to one device"
        )
    for rows, layout in ((src, layout_src), (dst, layout_dst)):
        if layout.batch is not None and layout.batch.device != rows.device:
            raise ValueError(f"x is on {rows.device} but batch on {layout.batch.device}: move them to one device")
        if rows.size(0) != layout.num_nodes:
            raise ValueError(f"{rows.size(0)} rows of features, but the layout (batch) has {layout.num_nodes} nodes")
    if layout_src.num_graphs != layout_dst.num_graphs:
        raise ValueError(f"{layout_src.num_graphs} source graphs, but {layout_dst.num_graphs} destination graphs")
    if bias is not None:
        if backend not in ("auto", "dense"):
            raise ValueError(f"a position bias needs backend='dense', got {backend!r}")
        if not (layout_src.is_equal and layout_dst.is_equal):
            raise ValueError("a position bias needs graphs of equal size")
        expected = (layout_dst.nodes_per_graph, layout_src.nodes_per_graph)
        if tuple(bias.shape) != expected:
            raise ValueError(f"bias must have shape (n_dst, n_src) = {expected}, got {tuple(bias.shape)}")
    _check_num_neighbors(layout_src, layout_dst, k, dilation, self_loops)


def _check_num_neighbors(
    layout_src: Layout, layout_dst: Layout, k: int, dilation: int, self_loops: bool | None
) -> None:
    if layout_src.is_equal:
        available = layout_src.nodes_per_graph
    else:
        sizes, has_dst = layout_src.sizes(), layout_dst.sizes() > 0  # graphs without destinations need no neighbours
        available = int(sizes[has_dst].min()) if bool(has_dst.any()) else k * dilation + 1
    available -= int(self_loops is False)
    if k * dilation > available and layout_dst.num_nodes > 0:
        other = " other" if self_loops is False else ""
        product = f"k={k}" if dilation == 1 else f"k * dilation = {k} * {dilation} = {k * dilation}"
        raise ValueError(
            f"{product} neighbours requested from a graph with {available}{other} nodes: "
            f"lower k (or the dilation), or use larger graphs (for images, a larger size)"
        )


def _clean_features(x: Tensor, cosine: bool) -> Tensor:
    """Prepare features for Euclidean distances: without NaN, which cannot be ordered, and in at least float32, as half
    precision cannot separate close neighbours. (With ``cosine``, the backends prepare them.)
    """
    return x if cosine else at_least_float32(x).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _dilate(index: Tensor, k: int, dilation: int, epsilon: float) -> Tensor:
    strided = index if dilation == 1 else index[:, ::dilation].contiguous()
    if epsilon == 0:
        return strided
    # The draw is not read on the host, which would synchronise with the device and break the compiled graph.
    random_index = index[:, torch.randperm(k * dilation, device=index.device)[:k]]
    return torch.where(torch.rand((), device=index.device) < epsilon, random_index, strided)
