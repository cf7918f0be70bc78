"""Edge convolution at the cost of a max-relative one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.graph import Adjacency, neighbor_max, neighbor_sum
from pyg_vig.graph.adjacency import in_degree, out_degree, zero_isolated
from pyg_vig.graph.precision import as_float64
from pyg_vig.nn.activation import is_quasi_convex
from pyg_vig.nn.conv.edge_norm import (
    apply_scale_and_shift,
    edge_statistics,
    training_scale_and_shift,
    weighted_statistics,
)
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures, source_and_destination
from pyg_vig.nn.fused_linear import fused_linear
from pyg_vig.nn.hooks import has_hooks
from pyg_vig.nn.linear import NodeUpdate, check_channels, is_unmodified
from pyg_vig.nn.norm import BatchNorm, folded_weight_and_bias, is_foldable, uses_batch_statistics


class EdgeConv(NeighborConv):
    r"""The edge convolution of `"Dynamic Graph CNN for Learning on Point Clouds" <https://arxiv.org/abs/1801.07829>`_
    with one layer, as in `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_:

    .. math::
        x_i' = \max_{j \in \mathcal{N}(i)} \sigma\left( W \left[ x_i \,\Vert\, x_j - x_i \right] \right)

    with ``norm`` before the activation. The output of a node without neighbours is zero.

    The fused path needs two products per node instead of one per edge:
    :math:`W [x_i \Vert x_j - x_i] = a_i + b_j`, and the maximum of a quasi-convex :math:`\sigma` over the neighbours is
    attained at :math:`\max_j b_j` or :math:`\min_j b_j`. The batch norm statistics over all edges follow from sums over
    nodes. The result is exact. Activations not known to be quasi-convex, and norms other than batch norm, fall back to
    the definition.

    Args:
        in_channels: number of input channels per node.
        out_channels: number of output channels per node.
        heads: groups of the linear layer; the published networks use 4 (heads 0 and 1 then see :math:`x_i` only).
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
        >>> from pyg_vig.nn import EdgeConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> EdgeConv(16, 32)(torch.rand(3, 16), edge_index).shape
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
        self.nn = NodeUpdate(2 * in_channels, out_channels, groups=heads, norm=norm, act=act, bias=bias)
        self.fuse = self._is_decomposable()

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        self.nn.reset_parameters()

    def forward(self, x: NodeFeatures, edge_index: Adjacency) -> Tensor:
        """Transform all edges and take the maximum over the neighbours of every node."""
        x = source_and_destination(x)
        return self.aggregate_neighbors(edge_index, x)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Transformed features of every edge."""
        return self.nn(torch.cat([x_i, x_j - x_i], dim=-1))

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the same maximum from the largest and smallest ``b``, without materialising a row per edge."""
        node_only, a, b = self._decompose(x)
        width = b.size(1)
        extremes = neighbor_max(torch.cat([b, -b], dim=1), edge_index)
        parts = [node_only, a + extremes[:, :width], a - extremes[:, width:]]
        if uses_batch_statistics(self.nn.norm):
            coefficients = _training_scales_and_shifts(self.nn.norm, node_only, a, b, edge_index)
            parts = [apply_scale_and_shift(part, *pair) for part, pair in zip(parts, coefficients, strict=True)]
        node_only, highest, lowest = (self.nn.act(part) for part in parts)
        return zero_isolated(torch.cat([node_only, torch.maximum(highest, lowest)], dim=1), edge_index)

    def _is_decomposable(self) -> bool:
        """Whether the maximum is at one of the two extremes of ``b``, and the norm needs no row per edge."""
        if not is_unmodified(self.nn):
            return False
        norms = nn.BatchNorm1d, nn.SyncBatchNorm, nn.Identity  # PyTorch 2.8 cannot compile unions
        return is_quasi_convex(self.nn.act) and isinstance(self.nn.norm, norms)

    def _can_fuse(self) -> bool:
        if not self._is_decomposable():
            return False
        return not any(has_hooks(module) for module in (self.nn, self.nn.linear, self.nn.norm, self.nn.act))

    def _decompose(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pre-activations: channels that depend on ``x_i`` only, then ``a_i`` and ``b_j`` of the others."""
        linear = self.nn.linear
        weight: Tensor = linear.weight
        bias: Tensor | None = linear.bias
        if is_foldable(self.nn.norm):
            weight, bias = folded_weight_and_bias(weight, bias, self.nn.norm)
        if linear.groups % 2:  # some group sees both halves of the input
            weight = torch.block_diag(*weight.chunk(linear.groups))
            node, neighbor = weight.chunk(2, dim=1)
            return x[1][:, :0], fused_linear(x[1], node - neighbor, bias), fused_linear(x[0], neighbor)
        (node, neighbor), groups = weight.chunk(2), linear.groups // 2
        bias_node, bias_edge = (None, None) if bias is None else bias.chunk(2)
        b = fused_linear(x[0], neighbor, groups=groups)
        a = b if x[0] is x[1] else fused_linear(x[1], neighbor, groups=groups)
        return fused_linear(x[1], node, bias_node, groups=groups), -a if bias_edge is None else bias_edge - a, b


def _training_scales_and_shifts(
    norm: BatchNorm, node_only: Tensor, a: Tensor, b: Tensor, edge_index: Adjacency
) -> list[tuple[Tensor, Tensor]]:
    """Scale and shift of batch norm over all edges, for the node-only channels and (twice) for the other channels."""
    degree, degree_out = in_degree(edge_index), out_degree(edge_index, b.size(0))
    b = as_float64(b)
    node_statistics = weighted_statistics(node_only, degree)
    pair_statistics = edge_statistics(a, b, neighbor_sum(b, edge_index), degree, degree_out)
    mean, var = (torch.cat(both) for both in zip(node_statistics, pair_statistics, strict=True))
    scale, shift = training_scale_and_shift(norm, mean, var, degree.sum())
    widths = [node_only.size(1), b.size(1)]
    (scale, pair_scale), (shift, pair_shift) = scale.split(widths), shift.split(widths)
    return [(scale, shift), (pair_scale, pair_shift), (pair_scale, pair_shift)]
