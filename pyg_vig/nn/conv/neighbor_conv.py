"""What the convs of pyg_vig share: PyG's call, and a fused path for sorted graphs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from pyg_vig.graph import Adjacency, NeighborTable

NodeFeatures = Tensor | tuple[Tensor, Tensor]


class NeighborConv(MessagePassing):
    """A :class:`~torch_geometric.nn.MessagePassing` that also takes neighbour tables.

    ``message`` and ``aggregate`` are the definition: PyG runs them on a plain ``edge_index``, in explainers, and
    wherever :attr:`fuse` is set to ``False``. ``message_and_aggregate`` computes the same with no row per edge; it
    serves a :class:`~pyg_vig.graph.NeighborTable`, an ``EdgeIndex`` sorted by destination, or a sparse ``adj_t``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, neighbor_sum
        >>> from pyg_vig.nn import NeighborConv
        >>> class SumConv(NeighborConv):
        ...     def forward(self, x, edge_index):
        ...         return self.aggregate_neighbors(edge_index, (x, x))
        ...     def message(self, x_j):
        ...         return x_j
        ...     def message_and_aggregate(self, edge_index, x):
        ...         return neighbor_sum(x[0], edge_index)
        >>> table = NeighborTable(torch.tensor([[0, 1], [1, 2], [2, 0]]), num_src=3)
        >>> conv, x = SumConv(), torch.rand(3, 4)
        >>> torch.allclose(conv(x, table), conv(x, table.edge_index.as_tensor()))
        True
    """

    SUPPORTS_FUSED_EDGE_INDEX = True

    def aggregate_neighbors(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Aggregate the messages of every node's neighbours: the fused path on a table, PyG's ``propagate`` else."""
        check_rows(edge_index, x)
        if isinstance(edge_index, NeighborTable):
            if self.fuse and not self.explain:
                return self.message_and_aggregate(edge_index, x)
            edge_index = edge_index.edge_index
        return self.propagate(edge_index, x=x)


def check_rows(edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> None:
    """Sparse products read what lies behind a matrix where an edge points there: PyG's own paths raise an error."""
    if isinstance(edge_index, NeighborTable):
        if edge_index.num_src != x[0].size(0):
            raise ValueError(f"the neighbour table is for {edge_index.num_src} source nodes, got {x[0].size(0)} rows")
    elif isinstance(edge_index, EdgeIndex) and x[0].device.type == "cpu" and not torch.compiler.is_compiling():
        for edges, rows, side in zip(edge_index.as_tensor(), x, ("source", "destination"), strict=True):
            if edges.numel():
                first, last = (int(bound) for bound in edges.aminmax())
                if first < 0 or last >= rows.size(0):
                    raise ValueError(f"edge_index names {side} nodes {first} to {last}, but there are {rows.size(0)}")


def source_and_destination(x: NodeFeatures) -> tuple[Tensor, Tensor]:
    """The pair ``(x_src, x_dst)``; the same matrix twice where one is given."""
    return x if isinstance(x, tuple) else (x, x)
