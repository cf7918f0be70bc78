"""Reference equations of every conv, written as loops over nodes: slow, but easy to verify."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyg_vig.nn import EdgeConv, GINConv, MaxRelativeConv, ReverseMaxRelativeConv, SAGEConv

Equation = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (conv, x_i, rows of its neighbours) -> x_i'


def update(layer: nn.Module, rows: Tensor) -> Tensor:
    """Apply a grouped linear layer, with one weight per group of channels, then norm and activation."""
    linear, groups = layer.linear, layer.linear.groups
    parts = [part @ weight.T for part, weight in zip(rows.chunk(groups, 1), linear.weight.chunk(groups), strict=True)]
    out = torch.cat(parts, 1)
    return layer.act(layer.norm(out if linear.bias is None else out + linear.bias))


def max_relative(conv: MaxRelativeConv, node: Tensor, neighbors: Tensor) -> Tensor:
    return relative_update(conv, node, neighbors - node)


def reverse_max_relative(conv: ReverseMaxRelativeConv, node: Tensor, neighbors: Tensor) -> Tensor:
    return relative_update(conv, node, node - neighbors)


def relative_update(conv: MaxRelativeConv, node: Tensor, differences: Tensor) -> Tensor:
    largest = differences.amax(0) if len(differences) else torch.zeros_like(node)
    alternating = torch.empty(2 * len(node), dtype=node.dtype)
    alternating[0::2], alternating[1::2] = node, largest
    return update(conv.nn, alternating.unsqueeze(0))[0]


def edge(conv: EdgeConv, node: Tensor, neighbors: Tensor) -> Tensor:
    if not len(neighbors):
        return node.new_zeros(conv.out_channels)
    return update(conv.nn, torch.cat([node.expand_as(neighbors), neighbors - node], 1)).amax(0)


def sage(conv: SAGEConv, node: Tensor, neighbors: Tensor) -> Tensor:
    largest = update(conv.nn1, neighbors).amax(0) if len(neighbors) else torch.zeros_like(node)
    return update(conv.nn2, torch.cat([node, largest]).unsqueeze(0))[0]


def gin(conv: GINConv, node: Tensor, neighbors: Tensor) -> Tensor:
    return update(conv.nn, ((1 + conv.eps) * node + neighbors.sum(0)).unsqueeze(0))[0]


EQUATIONS: dict[type[nn.Module], Equation] = {
    MaxRelativeConv: max_relative,
    ReverseMaxRelativeConv: reverse_max_relative,
    EdgeConv: edge,
    SAGEConv: sage,
    GINConv: gin,
}
