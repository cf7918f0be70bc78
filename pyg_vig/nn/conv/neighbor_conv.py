"""Base class of pyg_vig's convs: PyG's interface, with a fused path for sorted graphs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from pyg_vig.graph import Adjacency, NeighborTable
from pyg_vig.graph.adjacency import plain_edge_index
from pyg_vig.nn.hooks import has_propagate_hooks, needs_messages

NodeFeatures = Tensor | tuple[Tensor, Tensor]


class NeighborConv(MessagePassing):
    """A :class:`~torch_geometric.nn.MessagePassing` layer that also takes neighbour tables.

    ``message`` and ``aggregate`` are the definition: PyG runs them on a plain ``edge_index``, in explainers, and
    whenever :attr:`fuse` is set to ``False``. ``message_and_aggregate`` computes the same without a row per edge; it is
    used on a :class:`~pyg_vig.graph.NeighborTable`, an ``EdgeIndex`` sorted by destination, or a sparse ``adj_t``
    (whose values are ignored). If hooks need the messages, or a part of the conv was replaced by one that the fused
    path does not support, the definition runs on these as well.

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
        """Aggregate the messages of every node's neighbours: fused on a table, by PyG's ``propagate`` otherwise."""
        edge_index = prepare_adjacency(edge_index, x)
        if needs_messages(self) or (self.fuse and not self._can_fuse()):
            edge_index = plain_edge_index(edge_index)  # which PyG does not fuse
        elif isinstance(edge_index, NeighborTable):
            if self.fuse and not has_propagate_hooks(self):
                return self.message_and_aggregate(edge_index, x)
            edge_index = edge_index.edge_index
        return self.propagate(edge_index, x=x)

    def _can_fuse(self) -> bool:
        """Whether the fused path currently computes the same as the definition, and bypasses no hook.

        Parts of a conv may be replaced at any time: by another norm, an adapter, a quantised layer.
        """
        return True


def prepare_adjacency(edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Adjacency:
    """Return the graph between these rows in a form that the reductions need not convert on every call.

    Rows beyond the last node in the edges are isolated nodes. For an ``EdgeIndex`` on a CPU, indices out of range raise
    a ValueError, since sparse products would read out of bounds; PyG's own paths raise an error there.
    """
    if isinstance(edge_index, NeighborTable):
        if edge_index.num_src != x[0].size(0):
            raise ValueError(
                f"the features must match the neighbour table's {edge_index.num_src} source nodes, "
                f"got {x[0].size(0)} rows"
            )
    elif isinstance(edge_index, EdgeIndex):
        if not torch.compiler.is_compiling():
            return _prepare_edge_index(edge_index if edge_index.dtype == torch.int64 else _as_int64(edge_index), x)
    elif isinstance(edge_index, Tensor) and edge_index.layout in (torch.sparse_coo, torch.sparse_csc):
        return edge_index.to_sparse_csr()
    return edge_index


def _as_int64(edge_index: EdgeIndex) -> EdgeIndex:
    """Convert by hand: in a data-parallel module, ``edge_index.long()`` is no longer an ``EdgeIndex``."""
    edges = edge_index.as_tensor().long()
    return EdgeIndex(edges, sort_order=edge_index.sort_order, sparse_size=edge_index.sparse_size())


def _prepare_edge_index(edge_index: EdgeIndex, x: tuple[Tensor, Tensor]) -> EdgeIndex:
    if x[0].device.type == "cpu":
        for nodes, rows, side in zip(edge_index.as_tensor(), x, ("source", "destination"), strict=True):
            if nodes.numel():
                first, last = (int(bound) for bound in nodes.aminmax())
                if first < 0 or last >= rows.size(0):
                    raise ValueError(
                        f"edge_index must contain {side} nodes from 0 to {rows.size(0) - 1} (the rows of x), "
                        f"got {first} to {last}"
                    )
    if not edge_index.is_sorted_by_col:
        return edge_index
    size = (x[0].size(0), x[1].size(0))
    sparse_size = edge_index.get_sparse_size()
    if sparse_size == size:
        return edge_index
    if any(num_nodes > rows for num_nodes, rows in zip(sparse_size, size, strict=True)):
        raise ValueError(
            f"edge_index has sparse_size {tuple(sparse_size)}, but x has {size} (source, destination) rows"
        )
    return EdgeIndex(edge_index.as_tensor(), sort_order="col", sparse_size=size)


def source_and_destination(x: NodeFeatures) -> tuple[Tensor, Tensor]:
    """Return the pair ``(x_src, x_dst)``; a single matrix is used as both.

    Raises:
        ValueError: for a pair without destination features.
    """
    if isinstance(x, tuple) and x[1] is None:
        raise ValueError("this conv needs the features of source and destination nodes, got (x_src, None): pass both")
    return x if isinstance(x, tuple) else (x, x)
