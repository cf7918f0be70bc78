"""The dense formulation of the graph convs: features ``(B, C, N, 1)``, neighbours gathered to ``(B, C, N, k)``.

This is how the published vision GNNs are written. A dense conv shares the weights of the conv that it reformulates, so
that both can be timed and tested on the same numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.nn import EdgeConv, GINConv, MaxRelativeConv, NodeUpdate, SAGEConv


class DenseConv(nn.Module):
    """A graph conv of pyg_vig with batch norm, in the dense formulation.

    Args:
        conv: the conv to reformulate; its parameters and running statistics are shared.

    Shapes:
        - **x**: ``(B, C, N, 1)``
        - **index**: neighbours within the image, ``(B, N, k)``
        - **output**: ``(B, C_out, N, 1)``
    """

    def __init__(self, conv: MaxRelativeConv | EdgeConv | SAGEConv | GINConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        neighbors = dense_gather(x, index)  # (B, C, N, k)
        if isinstance(self.conv, GINConv):
            return _update((1 + self.conv.eps) * x + neighbors.sum(-1, keepdim=True), self.conv.nn)
        if isinstance(self.conv, SAGEConv):
            largest = _update(neighbors, self.conv.nn1).amax(-1, keepdim=True)
            return _update(torch.cat([x, largest], 1), self.conv.nn2)
        own = dense_gather(x, torch.arange(x.size(2), device=x.device).view(1, -1, 1).expand_as(index))
        if isinstance(self.conv, EdgeConv):
            return _update(torch.cat([own, neighbors - own], 1), self.conv.nn).amax(-1, keepdim=True)
        largest = (neighbors - own).amax(-1, keepdim=True)
        return _update(torch.stack([x, largest], 2).flatten(1, 2), self.conv.nn)


def dense_gather(x: Tensor, index: Tensor) -> Tensor:
    """Gather neighbours: ``(B, C, N, 1)`` and ``(B, N, k)`` to a contiguous ``(B, C, N, k)``."""
    image = torch.arange(x.size(0), device=x.device).view(-1, 1, 1)
    return x.squeeze(-1).mT[image, index].permute(0, 3, 1, 2).contiguous()


def dense_knn(x: Tensor, k: int) -> Tensor:
    """Cosine k-NN from the full distance matrices of all images at once: ``(B, N, C)`` to ``(B, N, k)``."""
    x = F.normalize(x, dim=-1)
    square = x.square().sum(-1, keepdim=True)
    distance = square - 2 * x @ x.mT + square.mT
    return distance.topk(k, largest=False).indices


def rolled_max(x: Tensor, step: int) -> Tensor:
    """Maximum over the patches a multiple of ``step`` away in the same row or column, by rolling the whole map."""
    shifts = [(distance, axis) for axis in (2, 3) for distance in range(step, x.size(axis), step)]
    largest = torch.full_like(x, -torch.inf)
    for distance, axis in shifts:
        largest = torch.maximum(largest, x.roll(distance, axis))
    return largest


def _update(x: Tensor, layer: NodeUpdate) -> Tensor:
    linear, norm = layer.linear, layer.norm
    x = F.conv2d(x, linear.weight[:, :, None, None], linear.bias, groups=linear.groups)
    x = norm(x.flatten(2)).view_as(x)  # the batch norm of nodes, over images, nodes and neighbours
    return layer.act(x)
