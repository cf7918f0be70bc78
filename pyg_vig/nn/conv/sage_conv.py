"""GraphSAGE with max pooling, as ViG's ablation uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.graph import Adjacency, neighbor_max
from pyg_vig.graph.adjacency import out_degree
from pyg_vig.nn.conv.edge_norm import apply_scale_and_shift, training_scale_and_shift, weighted_statistics
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures, source_and_destination
from pyg_vig.nn.hooks import has_hooks
from pyg_vig.nn.linear import NodeUpdate, check_channels
from pyg_vig.nn.norm import is_foldable, uses_batch_statistics


class SAGEConv(NeighborConv):
    r"""The max-pooling operator of `"Inductive Representation Learning on Large Graphs"
    <https://arxiv.org/abs/1706.02216>`_ as in `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_:

    .. math::
        x_i' = \sigma\left( W_2 \left[ x_i \,\Vert\, \max_{j \in \mathcal{N}(i)} \sigma(W_1 x_j) \right] \right)

    with ``norm`` before each activation. For a node without neighbours the maximum is zero. The published code applies
    :math:`W_1` to every edge. The fused path applies it to every node; batch norm over the edges is then batch norm
    over the nodes, weighted by how often each is a neighbour.

    Args:
        in_channels: number of input channels per node.
        out_channels: number of output channels per node.
        heads: groups of both linear layers; the published networks use 4.
        norm: ``"batch"``, ``"layer"`` or ``None``, after each linear layer.
        act: activation :math:`\sigma` by name, as in PyTorch, or ``None``.
        bias: whether the linear layers have biases.

    Shapes:
        - **x**: node features ``(|V|, in_channels)``, or a pair ``((|V_s|, in_channels), (|V_t|, in_channels))``
        - **edge_index**: ``(2, |E|)``, ``EdgeIndex``, sparse ``adj_t`` or :class:`~pyg_vig.graph.NeighborTable`
        - **output**: ``(|V|, out_channels)`` or ``(|V_t|, out_channels)``

    Raises:
        ValueError: if ``heads`` does not divide both widths.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import SAGEConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> SAGEConv(16, 32)(torch.rand(3, 16), edge_index).shape
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
        super().__init__(aggr="max")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.nn1 = NodeUpdate(in_channels, in_channels, groups=heads, norm=norm, act=act, bias=bias)
        self.nn2 = NodeUpdate(2 * in_channels, out_channels, groups=heads, norm=norm, act=act, bias=bias)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        self.nn1.reset_parameters()
        self.nn2.reset_parameters()

    def forward(self, x: NodeFeatures, edge_index: Adjacency) -> Tensor:
        """Aggregate the neighbours and update the nodes."""
        x = source_and_destination(x)
        largest = self.aggregate_neighbors(edge_index, x)
        return self.nn2(torch.cat([x[1], largest], dim=-1))

    def message(self, x_j: Tensor) -> Tensor:
        """Transformed features of the neighbour."""
        return self.nn1(x_j)

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the same maximum, transforming every node only once."""
        return neighbor_max(self._transform(x[0], edge_index), edge_index)

    def _can_fuse(self) -> bool:
        if not isinstance(self.nn1, NodeUpdate):
            return False
        norm = self.nn1.norm
        if uses_batch_statistics(norm):
            return not (has_hooks(self.nn1) or has_hooks(self.nn1.norm))
        return is_foldable(norm) or isinstance(norm, (nn.Identity, nn.LayerNorm))

    def _transform(self, x: Tensor, edge_index: Adjacency) -> Tensor:
        norm = self.nn1.norm
        if not uses_batch_statistics(norm):
            return self.nn1(x)
        x, count = self.nn1.linear(x), out_degree(edge_index, x.size(0))
        scale, shift = training_scale_and_shift(norm, *weighted_statistics(x, count), count.sum())
        return self.nn1.act(apply_scale_and_shift(x, scale, shift))
