"""Cross-attention from a node to its neighbours, with weights that are independent of each other by default."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from pyg_vig.graph import Adjacency, CrissCross, NeighborTable, as_edge_index, neighbor_dot, neighbor_sum
from pyg_vig.graph.adjacency import in_degree, is_grouped, plain_edge_index, to_csr
from pyg_vig.graph.precision import at_least_float32, without_autocast
from pyg_vig.graph.reduce import needs_fallback
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures, prepare_adjacency, source_and_destination
from pyg_vig.nn.hooks import has_propagate_hooks, needs_messages
from pyg_vig.nn.linear import GroupedLinear, PairUpdate, check_channels

_EPS = 1e-6  # added to squared norms: a zero vector then has cosine 0 and a finite gradient
_ELEMENTWISE_AFFINITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # functions of cosine and beta
    "exponential": lambda cosine, beta: torch.exp(beta * (cosine - 1)),
    "sigmoid": lambda cosine, beta: torch.sigmoid(beta * cosine),
    "cosine": lambda cosine, beta: beta * cosine,
}


class CrossAttentionConv(NeighborConv):
    r"""The cross-attention aggregation of `"AttentionViG" <https://arxiv.org/abs/2509.25570>`_:

    .. math::
        x_i' = \sigma\left( W \left[ x_i \,\Vert\, \sum_{j \in \mathcal{N}(i)} \alpha_{ij} W_v x_j \right] \right),
        \qquad \alpha_{ij} = \exp\left( \beta \left( \cos(W_q x_i, W_k x_j) - 1 \right) \right)

    The query comes from the node, keys and values from its neighbours. With the exponential affinity, the weight of a
    neighbour is at most 1 and independent of the others, so an irrelevant neighbour can be suppressed without raising
    the weight of another. The paper does not specify the form of the temperature :math:`\beta`, the width of the
    projections and the number of heads; this is our interpretation (a constant factor of :math:`\alpha` is absorbed by
    :math:`W_v`). For a node without neighbours the sum is zero.

    As in :class:`MaxRelativeConv`, each of the ``update_heads`` groups of the update sees its share of both halves.
    Under autocast, cosines, weights and sum are computed in float32. They are finite if the projections are.

    Args:
        in_channels: number of channels per node of the input, and of queries, keys and values.
        out_channels: number of output channels per node.
        heads: number of attention heads, each with its own cosine and :math:`\beta` (positive, initially 1).
        affinity: ``"exponential"``, or for comparison ``"softmax"`` (of :math:`\beta \cos` over the neighbours),
            ``"sigmoid"`` (of :math:`\beta \cos`) or ``"cosine"`` (:math:`\beta \cos` itself, of either sign).
        normalize: ``"sum"`` over the neighbours, or their ``"mean"``, for graphs whose degree depends on the image
            size.
        update_heads: groups of the update :math:`W`; the published ViG networks use 4.
        norm: ``"batch"``, ``"layer"`` or ``None``, after the update.
        act: activation :math:`\sigma` by name, as in PyTorch, or ``None``.
        bias: whether the four linear layers have biases.

    Shapes:
        - **x**: node features ``(|V|, in_channels)``, or a pair ``((|V_s|, in_channels), (|V_t|, in_channels))``
        - **edge_index**: ``(2, |E|)``, ``EdgeIndex``, sparse ``adj_t`` or :class:`~pyg_vig.graph.NeighborTable`
        - **output**: ``(|V|, out_channels)`` or ``(|V_t|, out_channels)``; with ``return_attention_weights=True`` a
          pair of this and ``(edge_index, alpha)``, where ``alpha`` has shape ``(|E|, heads)``

    Raises:
        ValueError: for an unknown ``affinity`` or ``normalize``, or if ``heads`` does not divide ``in_channels`` or
            ``update_heads`` twice ``in_channels`` and ``out_channels``.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import CrossAttentionConv
        >>> conv = CrossAttentionConv(16, 32, heads=2)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> out, (edge_index, alpha) = conv(torch.rand(3, 16), edge_index, return_attention_weights=True)
        >>> out.shape, alpha.shape
        (torch.Size([3, 32]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        affinity: str = "exponential",
        normalize: str = "sum",
        update_heads: int = 1,
        norm: str | None = None,
        act: str | nn.Module | None = "gelu",
        bias: bool = True,
    ) -> None:
        check_channels(in_channels, out_channels)
        _check_options(in_channels, heads, affinity, normalize)
        super().__init__(aggr=normalize, node_dim=0)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.affinity = affinity
        self.query = GroupedLinear(in_channels, in_channels, bias=bias)
        self.key = GroupedLinear(in_channels, in_channels, bias=bias)
        self.value = GroupedLinear(in_channels, in_channels, bias=bias)
        self.log_beta = nn.Parameter(torch.zeros(heads))
        self.nn = PairUpdate(in_channels, out_channels, groups=update_heads, norm=norm, act=act, bias=bias)

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        for layer in (self.query, self.key, self.value, self.nn):
            layer.reset_parameters()
        nn.init.zeros_(self.log_beta)

    def forward(
        self, x: NodeFeatures, edge_index: Adjacency, return_attention_weights: bool | None = None
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend to the neighbours and update the nodes."""
        x = source_and_destination(x)
        edge_index = prepare_adjacency(edge_index, x)
        projections = self._project(x)
        with without_autocast(x[1].device):
            total, alpha = self._attend(edge_index, *projections, need_weights=bool(return_attention_weights))
        out = self.nn(x[1], total.flatten(1).to(x[1].dtype))
        return (out, (as_edge_index(edge_index), alpha)) if return_attention_weights else out

    def edge_update(
        self, query_i: Tensor, key_j: Tensor, index: Tensor, ptr: Tensor | None, dim_size: int | None
    ) -> Tensor:
        """Weight of every edge and head, ``(|E|, heads)``."""
        cosine, beta = (query_i * key_j).sum(-1), self.log_beta.exp()
        if self.affinity == "softmax":
            return softmax(beta * cosine, index, ptr, dim_size)
        return _ELEMENTWISE_AFFINITIES[self.affinity](cosine, beta)

    def message(self, value_j: Tensor, alpha: Tensor) -> Tensor:
        """Values of the neighbours, weighted per head."""
        return alpha.unsqueeze(-1) * value_j

    def message_and_aggregate(self, edge_index: Adjacency, value: Tensor, alpha: Tensor) -> Tensor:
        """Compute the same sum without materialising a row per edge."""
        total = neighbor_sum(value, edge_index, alpha)
        return total / in_degree(edge_index).clamp(min=1).view(-1, 1, 1) if self.aggr == "mean" else total

    def _project(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        clamped = _clamp(x[0])
        query = self.query(clamped if x[1] is x[0] else _clamp(x[1]))
        return query, self.key(clamped), self.value(x[0])

    def _attend(
        self, edge_index: Adjacency, query: Tensor, key: Tensor, value: Tensor, *, need_weights: bool
    ) -> tuple[Tensor, Any]:
        """Return the weighted sum over the neighbours ``(|V_t|, heads, C / heads)``, and the weights, or ``None``."""
        shape = (self.heads, self.in_channels // self.heads)
        query, key, value = (at_least_float32(rows).unflatten(1, shape) for rows in (query, key, value))
        query, key = _normalize(query), _normalize(key)
        if not self._is_fused(edge_index):
            edges, size = plain_edge_index(edge_index), (key.size(0), query.size(0))  # which PyG does not fuse
            alpha = self.edge_updater(edges, query=query, key=key, size=size)
            return self.propagate(edges, value=value, alpha=alpha, size=size), alpha
        use_dense = needs_fallback(query) and self.affinity != "softmax" and not need_weights
        if use_dense and isinstance(edge_index, CrissCross):
            return self._attend_in_cliques(edge_index, query, key, value), None
        alpha = self._attention_weights(edge_index, query, key)
        return self.message_and_aggregate(edge_index, value, alpha), alpha

    def _is_fused(self, edge_index: Adjacency) -> bool:
        """Whether no hook or explainer needs the messages, and the edges are grouped by destination."""
        hooked = needs_messages(self) or has_propagate_hooks(self)
        return self.fuse and not hooked and is_grouped(edge_index)

    def _attention_weights(self, edge_index: Adjacency, query: Tensor, key: Tensor) -> Tensor:
        cosine, beta = neighbor_dot(query, key, edge_index), self.log_beta.exp()
        if self.affinity != "softmax":
            return _ELEMENTWISE_AFFINITIES[self.affinity](cosine, beta)
        if isinstance(edge_index, NeighborTable):
            return (beta * cosine).view(edge_index.num_dst, edge_index.k, self.heads).softmax(1).flatten(0, 1)
        return softmax(beta * cosine, ptr=to_csr(edge_index)[0])

    def _attend_in_cliques(self, graph: CrissCross, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend by small dense products among the members of every clique, for accelerators and compilers."""
        total, beta = torch.zeros_like(value), self.log_beta.exp()
        for axis, (outer, clique, inner) in enumerate(graph.axes):
            q, k, v = (rows.view(outer, clique, inner * self.heads, -1).transpose(1, 2) for rows in (query, key, value))
            alpha = _ELEMENTWISE_AFFINITIES[self.affinity](q @ k.mT, beta.repeat(inner).view(-1, 1, 1))
            if axis == 1 or not graph.loop:  # a node is its own neighbour at most once
                alpha = alpha.masked_fill(torch.eye(clique, dtype=torch.bool, device=alpha.device), 0)
            total = total + (alpha @ v).transpose(1, 2).reshape(value.shape)
        return total / max(graph.k, 1) if self.aggr == "mean" else total


def _check_options(in_channels: int, heads: int, affinity: str, normalize: str) -> None:
    if heads < 1 or in_channels % heads:
        raise ValueError(f"heads must divide in_channels, got {heads} for {in_channels} channels")
    if affinity not in _ELEMENTWISE_AFFINITIES and affinity != "softmax":
        raise ValueError(f"affinity must be one of {', '.join(_ELEMENTWISE_AFFINITIES)}, softmax, got {affinity!r}")
    if normalize not in ("sum", "mean"):
        raise ValueError(f"normalize must be 'sum' or 'mean', got {normalize!r}")


def _clamp(x: Tensor) -> Tensor:
    """Clamp the entries so that neither their squares nor their products with weights overflow when summed."""
    limit = math.sqrt(torch.finfo(torch.promote_types(x.dtype, torch.float32)).max / max(x.size(-1), 1)) / 2
    limit = min(limit, torch.finfo(x.dtype).max)
    return x.clamp(-limit, limit)


def _normalize(x: Tensor) -> Tensor:
    x = _clamp(x)
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + _EPS)
