"""Sparse vision graph attention: patches are linked along their row and column, at multiples of a fixed step."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric import EdgeIndex

from pyg_vig.graph.adjacency import NeighborTable
from pyg_vig.graph.cache import cached_per_device
from pyg_vig.graph.criss_cross import CrissCross, criss_cross_table, splits_into_cliques
from pyg_vig.graph.grid import check_grid, require_single_grid
from pyg_vig.graph.layout import Layout


def svga_graph(
    height: int,
    width: int,
    step: int = 2,
    *,
    loop: bool = False,
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> EdgeIndex:
    r"""Create the edges of SVGA (`"MobileViG" <https://arxiv.org/abs/2307.00395>`_) on ``batch_size`` grids of patches.

    Patch :math:`(h, w)` has the neighbours :math:`(h - i, w)` for :math:`i = K, 2K, \ldots < H` and :math:`(h, w - i)`
    for :math:`i = K, 2K, \ldots < W`, wrapping around the border: the patches that rolling the feature map by multiples
    of the step :math:`K` moves to its position. No neighbour occurs twice. If :math:`K` does not divide the size, links
    are one-way, as in the published code, which rolls in any case.

    Args:
        height: patches from top to bottom, :math:`H`.
        width: patches from left to right, :math:`W`.
        step: distance between linked patches, :math:`K`.
        loop: add every patch to its own neighbours, as the first.
        batch_size: number of grids, one after the other.
        device: device of the edges.

    Returns:
        ``EdgeIndex`` of shape ``(2, E)``, sorted by destination; cached, so do not modify it.

    Raises:
        ValueError: for an empty grid or a step below 1.

    Example:
        >>> from pyg_vig.graph import svga_graph
        >>> svga_graph(2, 2, step=1).tolist()
        [[2, 1, 3, 0, 0, 3, 1, 2], [0, 0, 1, 1, 2, 2, 3, 3]]
    """
    check_grid(height, width, batch_size)
    _check_step(step)
    return _svga_edges(height, width, step, loop, batch_size, device)


@cached_per_device(maxsize=16)
def _svga_edges(height: int, width: int, step: int, loop: bool, batch_size: int, device: torch.device) -> EdgeIndex:
    table = criss_cross_table(height, width, step, loop, batch_size, device)
    return NeighborTable(table, table.size(0)).edge_index


class SVGAGraph(torch.nn.Module):
    """Links patches along their row and column: a graph builder ``(x, layout) -> adjacency`` that ignores the features.

    Where the step divides the grid (in every stage of the published networks except MobileViG's at 224 pixels), it
    returns a :class:`~pyg_vig.graph.CrissCross`, over which the convs reduce in linear time, and otherwise a
    :class:`~pyg_vig.graph.NeighborTable`.

    Args:
        step: distance between linked patches.
        loop: add every patch to its own neighbours. The maximum of :math:`x_i - x_j` over the neighbours then equals
            that of the published code, which starts from zero, and takes about a third of the time.

    Shapes:
        - **x**: node matrix ``(N, C)``
        - **layout**: :class:`~pyg_vig.graph.Layout` of a grid
        - **output**: adjacency of the :func:`svga_graph` of that grid

    Raises:
        ValueError: if ``step`` is below 1, the nodes do not form a grid, or the neighbours are pooled.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout, SVGAGraph
        >>> SVGAGraph(step=2)(torch.rand(32, 3), Layout.from_grid(2, 4, 4))
        CrissCross(batch_size=2, height=4, width=4, step=2, loop=False)
        >>> SVGAGraph(step=2)(torch.rand(49, 3), Layout.from_grid(1, 7, 7))
        NeighborTable(num_src=49, num_dst=49, k=6)
    """

    def __init__(self, step: int = 2, *, loop: bool = False) -> None:
        super().__init__()
        _check_step(step)
        self.step = step
        self.loop = loop

    def extra_repr(self) -> str:
        return f"step={self.step}, loop={self.loop}"

    def forward(self, x: Any, layout: Layout) -> NeighborTable:
        """Return the links of the grid that the nodes lie on."""
        height, width = require_single_grid(x, layout)
        if splits_into_cliques(height, width, self.step):
            return CrissCross(layout.num_graphs, height, width, self.step, loop=self.loop, device=x.device)
        index = criss_cross_table(height, width, self.step, self.loop, layout.num_graphs, x.device)
        return NeighborTable(index, x.size(0))


def _check_step(step: int) -> None:
    if step < 1:
        raise ValueError(f"step must be at least 1, got {step}")
