"""Max-relative graph convolution, the default of ViG."""

from __future__ import annotations

from torch import Tensor, nn

from pyg_vig.graph import Adjacency, neighbor_max
from pyg_vig.graph.adjacency import zero_isolated
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures, source_and_destination
from pyg_vig.nn.linear import PairUpdate, check_channels


class _MaxOfDifferences(NeighborConv):
    """Shared by the two convs. (PyG compiles ``propagate`` per class, and explains no subclass of a compiled class.)"""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        norm: str | None = None,
        act: str | nn.Module | None = "gelu",
        bias: bool = True,
    ) -> None:
        check_channels(in_channels, out_channels)
        super().__init__(aggr="max")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.nn = PairUpdate(in_channels, out_channels, groups=heads, norm=norm, act=act, bias=bias)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        self.nn.reset_parameters()

    def forward(self, x: NodeFeatures, edge_index: Adjacency) -> Tensor:
        """Aggregate the neighbours and update the nodes."""
        x = source_and_destination(x)
        largest = self.aggregate_neighbors(edge_index, x)
        return self.nn(x[1], largest)


class MaxRelativeConv(_MaxOfDifferences):
    r"""The max-relative graph convolution of `"DeepGCNs" <https://arxiv.org/abs/1904.03751>`_ in the form of
    `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_:

    .. math::
        x_i' = \sigma\left( W \left[ x_i \,\Vert\, \max_{j \in \mathcal{N}(i)} (x_j - x_i) \right] \right)

    The two halves are interleaved channel by channel, so that each of the ``heads`` groups of :math:`W` sees its share
    of both (the paper's multi-head update). For a node without neighbours the maximum is zero. Since
    :math:`\max_j (x_j - x_i) = (\max_j x_j) - x_i` holds exactly, even in floating point, the fused path needs no row
    per edge.

    Args:
        in_channels: number of input channels per node.
        out_channels: number of output channels per node.
        heads: groups of the update; the published networks use 4.
        norm: ``"batch"``, ``"layer"`` or ``None``, after the linear layer.
        act: activation :math:`\sigma` by name, as in PyTorch, or ``None``.
        bias: whether the linear layer has a bias.

    Shapes:
        - **x**: node features ``(|V|, in_channels)``, or a pair ``((|V_s|, in_channels), (|V_t|, in_channels))``
        - **edge_index**: ``(2, |E|)``, ``EdgeIndex``, sparse ``adj_t`` or :class:`~pyg_vig.graph.NeighborTable`
        - **output**: ``(|V|, out_channels)`` or ``(|V_t|, out_channels)``

    Raises:
        ValueError: if ``heads`` does not divide twice ``in_channels`` and ``out_channels``.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import MaxRelativeConv
        >>> conv = MaxRelativeConv(16, 32, heads=4)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> conv(torch.rand(3, 16), edge_index).shape
        torch.Size([3, 32])
    """

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Difference of neighbour and node."""
        return x_j - x_i

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the same maximum without materialising a row per edge."""
        return _largest_difference(edge_index, x)


class ReverseMaxRelativeConv(_MaxOfDifferences):
    r"""The max-relative graph convolution with the differences of `"MobileViG" <https://arxiv.org/abs/2307.00395>`_:

    .. math::
        x_i' = \sigma\left( W \left[ x_i \,\Vert\, \max_{j \in \mathcal{N}(i)} (x_i - x_j) \right] \right)

    Everything else is as in :class:`MaxRelativeConv`. The published code initialises its maximum to zero; this layer
    gives the same result if every node is its own neighbour.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import ReverseMaxRelativeConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> ReverseMaxRelativeConv(16, 32)(torch.rand(3, 16), edge_index).shape
        torch.Size([3, 32])
    """

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Difference of node and neighbour."""
        return x_i - x_j

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the same maximum without materialising a row per edge."""
        return _largest_difference(edge_index, (-x[0], -x[1]))


def _largest_difference(edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
    return zero_isolated(neighbor_max(x[0], edge_index) - x[1], edge_index)
