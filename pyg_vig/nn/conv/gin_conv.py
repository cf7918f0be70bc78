"""Graph isomorphism convolution, as ViG's ablation uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.graph import Adjacency, neighbor_sum
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures, source_and_destination
from pyg_vig.nn.linear import NodeUpdate, check_channels


class GINConv(NeighborConv):
    r"""The graph isomorphism operator of `"How Powerful are Graph Neural Networks?"
    <https://arxiv.org/abs/1810.00826>`_ with one layer, as in `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_:

    .. math::
        x_i' = \sigma\left( W \left[ (1 + \epsilon) \, x_i + \sum_{j \in \mathcal{N}(i)} x_j \right] \right)

    with ``norm`` before the activation. :math:`\epsilon` is learned and initialised to 0.

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
        ValueError: if ``heads`` does not divide both widths.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import GINConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> GINConv(16, 32)(torch.rand(3, 16), edge_index).shape
        torch.Size([3, 32])
    """

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
        super().__init__(aggr="sum")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.eps = nn.Parameter(torch.zeros(1))
        self.nn = NodeUpdate(in_channels, out_channels, groups=heads, norm=norm, act=act, bias=bias)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        nn.init.zeros_(self.eps)
        self.nn.reset_parameters()

    def forward(self, x: NodeFeatures, edge_index: Adjacency) -> Tensor:
        """Aggregate the neighbours and update the nodes."""
        x = source_and_destination(x)
        total = self.aggregate_neighbors(edge_index, x)
        return self.nn(torch.addcmul(total, 1 + self.eps, x[1]))

    def message(self, x_j: Tensor) -> Tensor:
        """Features of the neighbour, unchanged."""
        return x_j

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the same sum without materialising a row per edge."""
        return neighbor_sum(x[0], edge_index)
