"""Dynamic axial graph construction: links to similar patches in the same row and column."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_vig.graph.adjacency import NeighborTable
from pyg_vig.graph.criss_cross import criss_cross_table
from pyg_vig.graph.grid import require_single_grid
from pyg_vig.graph.layout import Layout
from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import is_exporting


class DAGCGraph(torch.nn.Module):
    r"""Links every patch to those SVGA neighbours whose features are close
    (`"GreedyViG" <https://arxiv.org/abs/2405.06849>`_): a graph builder ``(x, layout) -> adjacency``.

    A neighbour :math:`j` of :math:`i` is kept if :math:`\|x_i - x_j\|_1 < \mu - \sigma`, where :math:`\mu` and
    :math:`\sigma` are the mean and standard deviation, over the patches of the image, of the distance to the patch half
    the image away in both directions. Every patch is its own first neighbour. Links that are not kept are replaced by
    self-loops, so that all patches have the same degree; this does not change a maximum. No gradient flows through the
    choice.

    Args:
        step: distance between candidates along rows and columns.

    Shapes:
        - **x**: node matrix ``(N, C)``
        - **layout**: :class:`~pyg_vig.graph.Layout` of a grid
        - **output**: :class:`~pyg_vig.graph.NeighborTable`

    Raises:
        ValueError: if ``step`` is below 1, the nodes do not form a grid, or the neighbours are pooled.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import DAGCGraph, Layout
        >>> DAGCGraph(step=2)(torch.rand(2 * 16, 3), Layout.from_grid(2, 4, 4))
        NeighborTable(num_src=32, num_dst=32, k=3)
    """

    def __init__(self, step: int = 2) -> None:
        super().__init__()
        if step < 1:
            raise ValueError(f"step must be at least 1, got {step}")
        self.step = step

    def extra_repr(self) -> str:
        return f"step={self.step}"

    @torch.no_grad()
    def forward(self, x: Any, layout: Layout) -> NeighborTable:
        """Select the close candidates of every patch."""
        height, width = require_single_grid(x, layout)
        candidates = criss_cross_table(height, width, self.step, True, layout.num_graphs, x.device)
        if candidates.size(1) == 1:  # no candidates; the deviation over a single patch is undefined
            return NeighborTable(candidates, x.size(0))
        maps = x.view(layout.num_graphs, height, width, x.size(1))
        distances = torch.cat([self._axis_distances(maps, 1), self._axis_distances(maps, 2)], dim=-1).flatten(0, 2)
        is_near = distances < layout.expand(_threshold(maps))
        neighbors = torch.where(is_near, candidates[:, 1:], candidates[:, :1])
        return NeighborTable(torch.cat([candidates[:, :1], neighbors], dim=1), x.size(0))

    def _axis_distances(self, maps: Tensor, dim: int) -> Tensor:
        """Distances to the candidates along one axis, ``(B, H, W, k)``, in the order of the candidates."""
        size = maps.size(dim)
        if self.step >= size:
            return maps.new_empty((*maps.shape[:3], 0))
        if size % self.step:
            shifts = range(self.step, size, self.step)
            return torch.stack([_l1_distance(maps, maps.roll(shift, dim)) for shift in shifts], dim=-1)
        cliques = maps.unflatten(dim, (-1, self.step)).movedim(dim, 3)  # (B, ., ., clique, C)
        pairs = _pairwise_distances(cliques)  # (B, ., ., clique, clique)
        clique_size = size // self.step
        pairs = pairs.gather(-1, _roll_order(clique_size, maps.device).expand(*pairs.shape[:-1], -1))
        return pairs.movedim(3, dim).flatten(dim, dim + 1)


def _l1_distance(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().sum(-1)


def _pairwise_distances(x: Tensor) -> Tensor:
    """Distances between all pairs of rows, ``(..., n, C) -> (..., n, n)``."""
    if is_exporting():  # ONNX has no cdist
        return _l1_distance(x.unsqueeze(-2), x.unsqueeze(-3))
    upcast = at_least_float32(x)  # cdist does not support half precision
    return torch.cdist(upcast, upcast, p=1)


def _threshold(maps: Tensor) -> Tensor:
    """Mean minus standard deviation of the distance to the patch half an image away, ``(B, 1)``."""
    maps = at_least_float32(maps)  # as for the distances that are compared with it
    _, height, width, _ = maps.shape
    opposite = maps.roll((-(-height // 2), -(-width // 2)), (1, 2))
    distance = _l1_distance(maps, opposite).flatten(1)
    return (distance.mean(1) - distance.std(1)).unsqueeze(1)


def _roll_order(size: int, device: torch.device) -> Tensor:
    """The other members of a clique in the order in which rolling moves them to each: ``(size, size - 1)``."""
    member = torch.arange(size, device=device)
    return (member.unsqueeze(1) - torch.arange(1, size, device=device)) % size
