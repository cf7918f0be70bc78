"""The graph formats that convs accept, and queries that work on all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import is_sparse, to_edge_index


class NeighborTable:
    r"""A graph with the same number of neighbours :math:`k` for every node, stored as a table, not as an edge list.

    All convs of pyg_vig accept it in place of ``edge_index``; for all other uses, convert it with :attr:`edge_index`.
    The k-NN builders return it, also under :func:`torch.compile`: unlike an :class:`~torch_geometric.EdgeIndex`, it can
    be created inside a compiled region.

    Args:
        index: neighbours of every destination node, ``(N_dst, k)`` int64, as row numbers of the source node matrix,
            nearest first.
        num_src: number of rows of the source node matrix.

    Raises:
        ValueError: if ``index`` has another shape or dtype. (Its values are not checked, which would synchronise with
            the device.)

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable
        >>> table = NeighborTable(torch.tensor([[0, 1], [1, 0], [2, 1]]), num_src=3)
        >>> table.edge_index.tolist()
        [[0, 1, 1, 0, 2, 1], [0, 0, 1, 1, 2, 2]]
    """

    def __init__(self, index: Tensor, num_src: int) -> None:
        if index.dim() != 2 or index.dtype != torch.int64:
            got = f"{index.dtype} of shape {tuple(index.shape)}"
            raise ValueError(f"index must be int64 of shape (N_dst, k), got {got}: for edges use an EdgeIndex")
        self._index = index
        self.num_src = num_src

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_src={self.num_src}, num_dst={self.num_dst}, k={self.k})"

    @property
    def index(self) -> Tensor:
        """Neighbours of every destination node, ``(N_dst, k)`` int64."""
        return self._index

    @property
    def num_dst(self) -> int:
        """Number of destination nodes."""
        return self.index.size(0)

    @property
    def k(self) -> int:
        """Number of neighbours of every node."""
        return self.index.size(1)

    @property
    def edge_index(self) -> EdgeIndex:
        """The graph as a PyG edge list ``(2, N_dst * k)`` of sources and destinations, sorted by destination."""
        dst = torch.arange(self.num_dst, device=self.index.device).repeat_interleave(self.k)
        edges = torch.stack([self.index.reshape(-1), dst])
        return EdgeIndex(edges, sort_order="col", sparse_size=(self.num_src, self.num_dst))

    def csr(self) -> tuple[Tensor, Tensor]:
        """Return the CSR form by destination: row pointers ``(N_dst + 1,)`` and neighbours ``(N_dst * k,)``."""
        ptr = torch.arange(self.num_dst + 1, device=self.index.device) * self.k
        return ptr, self.index.reshape(-1)


Adjacency = NeighborTable | Tensor  # a Tensor is PyG's edge_index: plain, EdgeIndex, or a sparse adj_t


def as_edge_index(adjacency: Adjacency) -> Tensor:
    """Return any adjacency as a PyG ``edge_index``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, as_edge_index
        >>> as_edge_index(NeighborTable(torch.tensor([[1], [0]]), num_src=2)).tolist()
        [[1, 0], [0, 1]]
    """
    return adjacency.edge_index if isinstance(adjacency, NeighborTable) else adjacency


def plain_edge_index(adjacency: Adjacency) -> Tensor:
    """Return the edges of any adjacency as a plain tensor ``(2, E)``, without sort order or values of an ``adj_t``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.adjacency import plain_edge_index
        >>> plain_edge_index(torch.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse()).tolist()  # a row per destination
        [[1], [0]]
    """
    edge_index = as_edge_index(adjacency)
    if isinstance(edge_index, EdgeIndex):
        return edge_index.as_tensor()
    if not is_sparse(edge_index):
        return edge_index
    (dst, src), _ = to_edge_index(edge_index)
    return torch.stack([src, dst])


def is_grouped(adjacency: Adjacency) -> bool:
    """Whether the edges are grouped by destination, as reductions need them: all but plain and unsorted edge lists."""
    if isinstance(adjacency, EdgeIndex):
        return adjacency.is_sorted_by_col
    return isinstance(adjacency, NeighborTable) or adjacency.layout != torch.strided


def to_csr(adjacency: Adjacency) -> tuple[Tensor, Tensor]:
    """Return the CSR form of any adjacency by destination: row pointers ``(N_dst + 1,)`` and source rows ``(E,)``.

    Raises:
        ValueError: for a plain edge list, whose order is unknown (wrap it in a sorted ``EdgeIndex``).
    """
    if isinstance(adjacency, NeighborTable):
        return adjacency.csr()
    if isinstance(adjacency, EdgeIndex) and adjacency.is_sorted_by_col:
        (ptr, src), _ = _get_csc(adjacency)
        return ptr, src
    if adjacency.layout in (torch.sparse_coo, torch.sparse_csc):
        adjacency = adjacency.to_sparse_csr()
    if adjacency.layout == torch.sparse_csr:  # PyG's transposed adjacency has a row per destination
        return adjacency.crow_indices(), adjacency.col_indices()
    raise ValueError('expected a NeighborTable, an EdgeIndex with sort_order="col", or a sparse adj_t')


def _get_csc(edge_index: EdgeIndex) -> Any:
    """``EdgeIndex.get_csc``, which caches its result: as ordinary tensors, as training cannot use inference tensors."""
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return edge_index.get_csc()
    with torch.inference_mode(False):
        return edge_index.get_csc()


def in_degree(adjacency: Adjacency) -> Tensor:
    """Return the number of neighbours of every destination, ``(N_dst,)`` int64."""
    return to_csr(adjacency)[0].diff()


def out_degree(adjacency: Adjacency, num_src: int) -> Tensor:
    """Return the number of destinations that every source is a neighbour of, ``(N_src,)`` int64."""
    _, src = to_csr(adjacency)
    return torch.zeros(num_src, dtype=torch.int64, device=src.device).scatter_add_(0, src, torch.ones_like(src))


def zero_isolated(x: Tensor, adjacency: Adjacency) -> Tensor:
    """Return the destination rows ``x`` with zeros for nodes without neighbours.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.adjacency import zero_isolated
        >>> adj_t = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).to_sparse_csr()  # a row per destination
        >>> zero_isolated(torch.ones(2, 1), adj_t).tolist()
        [[1.0], [0.0]]
    """
    if isinstance(adjacency, NeighborTable) and adjacency.k > 0:
        return x
    return x.masked_fill((in_degree(adjacency) == 0).unsqueeze(1), 0)
