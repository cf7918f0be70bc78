"""What the convs of pyg_vig share: PyG's call, and a fused path for sorted graphs."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_vig.graph import Adjacency, NeighborTable

NodeFeatures = Tensor | tuple[Tensor, Tensor]


class NeighborConv(MessagePassing):
    """A :class:`~torch_geometric.nn.MessagePassing` that also takes neighbour tables.

    ``message`` and ``aggregate`` are the definition: PyG runs them on a plain ``edge_index``, in explainers, and
    wherever :attr:`fuse` is set to ``False``. ``message_and_aggregate`` computes the same with no row per edge; it
    serves a :class:`~pyg_vig.graph.NeighborTable`, an ``EdgeIndex`` sorted by destination, or a sparse ``adj_t``.
    """

    SUPPORTS_FUSED_EDGE_INDEX = True

    def aggregate_neighbors(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Aggregate the messages of every node's neighbours: the fused path on a table, PyG's ``propagate`` else."""
        if isinstance(edge_index, NeighborTable):
            if self.fuse and not self.explain:
                return self.message_and_aggregate(edge_index, x)
            edge_index = edge_index.edge_index
        return self.propagate(edge_index, x=x)


def source_and_destination(x: NodeFeatures) -> tuple[Tensor, Tensor]:
    """The pair ``(x_src, x_dst)``; the same matrix twice where one is given."""
    return x if isinstance(x, tuple) else (x, x)
