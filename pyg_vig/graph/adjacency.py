"""The formats in which a conv takes a graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import is_sparse, to_edge_index


class NeighborTable:
    r"""A graph in which every node has the same number of neighbours :math:`k`: a table instead of an edge list.

    The k-NN builders pass it to the convs, in eager mode and under :func:`torch.compile` alike (an
    :class:`~torch_geometric.EdgeIndex` cannot be made inside a compiled region). Any conv of pyg_vig takes it in place
    of ``edge_index``; for every other use there is :attr:`edge_index`.

    Args:
        index: neighbours of every destination node, ``(N_dst, k)`` int64, rows of the source node matrix, nearest
            first.
        num_src: number of rows of the source node matrix.

    Raises:
        ValueError: for an index of another shape or type. (The values are not checked, which would synchronise with the
            device.)

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
        """Neighbours of every node."""
        return self.index.size(1)

    @property
    def edge_index(self) -> EdgeIndex:
        """The same graph as PyG's edge list ``(2, N_dst * k)``: source row first, sorted by destination."""
        dst = torch.arange(self.num_dst, device=self.index.device).repeat_interleave(self.k)
        edges = torch.stack([self.index.reshape(-1), dst])
        return EdgeIndex(edges, sort_order="col", sparse_size=(self.num_src, self.num_dst))

    def csr(self) -> tuple[Tensor, Tensor]:
        """Row pointers ``(N_dst + 1,)`` and neighbours ``(N_dst * k,)``, by destination."""
        ptr = torch.arange(self.num_dst + 1, device=self.index.device) * self.k
        return ptr, self.index.reshape(-1)


Adjacency = NeighborTable | Tensor  # a Tensor is PyG's edge_index: plain, EdgeIndex, or a sparse adj_t


def as_edge_index(adjacency: Adjacency) -> Tensor:
    """The PyG ``edge_index`` of any adjacency.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, as_edge_index
        >>> as_edge_index(NeighborTable(torch.tensor([[1], [0]]), num_src=2)).tolist()
        [[1, 0], [0, 1]]
    """
    return adjacency.edge_index if isinstance(adjacency, NeighborTable) else adjacency


def plain_edge_index(adjacency: Adjacency) -> Tensor:
    """The edges of any adjacency as a plain tensor ``(2, E)``, which carries no order; values of an ``adj_t`` are lost.

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
