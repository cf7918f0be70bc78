"""Criss-cross graphs that are unions of cliques, and cheap reductions over their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_vig.graph.adjacency import NeighborTable
from pyg_vig.graph.cache import cached_per_device
from pyg_vig.graph.precision import as_float64


class CrissCross(NeighborTable):
    r"""The graph of SVGA (`"MobileViG" <https://arxiv.org/abs/2307.00395>`_) on grids whose sides the step divides.

    Every patch is linked to the patches in its column and its row whose distance is a multiple of the step. Patches of
    a column (or row) that are multiples of the step apart are all linked to each other, so the graph is a union of
    cliques, two for every patch. A sum or a maximum over neighbours therefore needs no edge list (except a maximum with
    gradients on a CPU): it reduces every clique once, in :math:`O(N)` time, whatever the number of neighbours.

    This is a :class:`~pyg_vig.graph.NeighborTable` whose table is created only when it is read.

    Args:
        batch_size: number of grids, one after the other.
        height: patches from top to bottom.
        width: patches from left to right.
        step: distance between linked patches. It must divide height and width, or be at least as large (then there are
            no links along that axis).
        loop: whether every patch is its own (first) neighbour.
        device: device of the table.

    Raises:
        ValueError: if the step does not divide the size.

    Example:
        >>> from pyg_vig.graph import CrissCross
        >>> graph = CrissCross(1, 4, 4, step=2)
        >>> graph
        CrissCross(batch_size=1, height=4, width=4, step=2, loop=False)
        >>> graph.index[5].tolist()  # two rows below (around the border: above), two columns to the right
        [13, 7]
    """

    def __init__(
        self,
        batch_size: int,
        height: int,
        width: int,
        step: int,
        *,
        loop: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if not splits_into_cliques(height, width, step):
            raise ValueError(f"step {step} does not divide {height} x {width}: use svga_graph or SVGAGraph")
        self.num_src = batch_size * height * width  # no super().__init__(): the table is created on demand
        self.batch_size = batch_size
        self.height = height
        self.width = width
        self.step = step
        self.loop = loop
        self.device = device

    def __repr__(self) -> str:
        return (
            f"CrissCross(batch_size={self.batch_size}, height={self.height}, width={self.width}, step={self.step}, "
            f"loop={self.loop})"
        )

    @property
    def index(self) -> Tensor:
        """Neighbours of every node, ``(N, k)`` int64: itself (with ``loop``), then its column, then its row."""
        return criss_cross_table(self.height, self.width, self.step, self.loop, self.batch_size, self.device)

    @property
    def num_dst(self) -> int:
        return self.num_src

    @property
    def k(self) -> int:
        (_, column, _), (_, row, _) = self.axes
        return self.loop + (column - 1) + (row - 1)

    @property
    def axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Shapes ``(outer, clique, inner)`` that expose the cliques along columns and along rows.

        The second dimension of ``x.view(outer, clique, inner, C)`` runs over the members of a clique.
        """
        down, right = min(self.step, self.height), min(self.step, self.width)
        columns = (self.batch_size, self.height // down, down * self.width)
        rows = (self.batch_size * self.height, self.width // right, right)
        return columns, rows


def splits_into_cliques(height: int, width: int, step: int) -> bool:
    """Whether the criss-cross links of a grid form cliques: the step divides each side, or is at least as large."""
    return all(size % step == 0 or step >= size for size in (height, width))


@cached_per_device(maxsize=8)  # enough for the stages of a network; tables of large batches take much memory
def criss_cross_table(
    height: int, width: int, step: int, loop: bool, batch_size: int, device: torch.device | str | None
) -> Tensor:
    """Return the neighbours ``(N, k)`` of every patch at multiples of the step, wrapping around the border of the grid.

    Rolling a feature map by ``i`` rows moves row ``h - i`` to row ``h``, which is the neighbour at distance ``i``.
    """
    row = torch.arange(height, device=device).view(-1, 1, 1)
    column = torch.arange(width, device=device).view(-1, 1)
    up, left = (step * torch.arange(1, (size - 1) // step + 1, device=device) for size in (height, width))
    parts = [(row - up) % height * width + column, row * width + (column - left) % width]
    if loop:
        parts.insert(0, row * width + column)
    grid = torch.cat([part.expand(height, width, -1) for part in parts], dim=-1).view(height * width, -1)
    offset = torch.arange(batch_size, device=device).view(-1, 1, 1) * (height * width)
    return (grid + offset).flatten(0, 1)


def clique_max(x: Tensor, graph: CrissCross) -> Tensor:
    """Maximum over the neighbours, ``(N, C) -> (N, C)``, without autograd; every node must have a neighbour."""
    if graph.loop:
        return _max_of_cliques(x, graph)
    out = torch.full_like(x, -torch.inf)
    for members, outputs in zip(_clique_views(x, graph), _clique_views(out, graph), strict=True):
        for order in (slice(None), slice(None, None, -1)):  # members before each one, then members after it
            _accumulate_max(members.unbind(1)[order], outputs.unbind(1)[order])
    return out


def _clique_views(x: Tensor, graph: CrissCross) -> tuple[Tensor, Tensor]:
    """Views of ``x`` in which dim 1 runs over the members of a clique, along columns and along rows."""
    columns, rows = (x.view(outer, clique, inner * x.size(1)) for outer, clique, inner in graph.axes)
    return columns, rows


def _accumulate_max(members: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
    """Update every output in place with the maximum of the members before it."""
    running_max = members[0].clone()
    for member, output in zip(members[1:], outputs[1:], strict=True):
        torch.maximum(output, running_max, out=output)
        torch.maximum(running_max, member, out=running_max)


def clique_max_with_grad(x: Tensor, graph: CrissCross) -> Tensor:
    """:func:`clique_max` for autograd and compilers; equal maxima share the gradient."""
    if graph.loop:
        return _max_of_cliques(x, graph)
    columns, rows = (_max_of_others(members).view_as(x) for members in _clique_views(x, graph))
    return torch.maximum(columns, rows)


def _max_of_others(members: Tensor) -> Tensor:
    """For every member, the maximum of the other members of its clique, along dim 1: for the largest, the second."""
    maximum, argmax = members.max(1, keepdim=True)
    is_max = torch.arange(members.size(1), device=members.device).view(-1, 1) == argmax
    second = members.masked_fill(is_max, -torch.inf).amax(1, keepdim=True)
    return torch.where(is_max, second, maximum)


def _max_of_cliques(x: Tensor, graph: CrissCross) -> Tensor:
    columns, rows = (members.amax(1) for members in _clique_views(x, graph))
    return torch.maximum(*_view_on_grid(columns, rows, graph)).view_as(x)


def clique_sum(x: Tensor, graph: CrissCross) -> Tensor:
    """Sum over the neighbours, ``(N, C) -> (N, C)``: the sums of both cliques, minus the surplus of the node itself.

    A node whose own row is infinite or NaN gets NaN, whatever its neighbours.
    """
    upcast = as_float64(x)  # otherwise the subtraction loses the digits of neighbours much smaller than the node
    columns, rows = (members.sum(1) for members in _clique_views(upcast, graph))
    columns, rows = _view_on_grid(columns, rows, graph)
    return (columns + rows).view_as(x).sub_(upcast, alpha=1 if graph.loop else 2).to(x.dtype)


def _view_on_grid(columns: Tensor, rows: Tensor, graph: CrissCross) -> tuple[Tensor, Tensor]:
    """Reshape one value per clique and channel so that both broadcast to ``(B, H / K, K, W / K, K * C)``."""
    (batch, column_size, _), (_, row_size, _) = graph.axes
    down, width = graph.height // column_size, rows.size(1)
    return columns.view(batch, 1, down, row_size, width), rows.view(batch, column_size, down, 1, width)
