"""Grid graphs: every patch is linked to the adjacent patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from pyg_vig.graph.cache import cached_per_device
from pyg_vig.graph.layout import Layout

_OFFSETS = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}


def grid_graph(
    height: int,
    width: int,
    neighbors: int = 8,
    *,
    loop: bool = False,
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> EdgeIndex:
    """Create the edges between adjacent patches of ``batch_size`` grids of ``height x width`` patches.

    Args:
        height: patches from top to bottom.
        width: patches from left to right.
        neighbors: 4 (sides) or 8 (sides and corners); patches at the border have fewer.
        loop: add every patch to its own neighbours.
        batch_size: number of grids, one after the other.
        device: device of the edges.

    Returns:
        ``EdgeIndex`` of shape ``(2, E)``, sorted by destination.

    Raises:
        ValueError: for an empty grid or another number of neighbours.

    Example:
        >>> from pyg_vig.graph import grid_graph
        >>> grid_graph(2, 2, neighbors=4).tolist()
        [[1, 2, 0, 3, 0, 3, 1, 2], [0, 0, 1, 1, 2, 2, 3, 3]]
    """
    check_grid(height, width, batch_size)
    if neighbors not in _OFFSETS:
        raise ValueError(f"neighbors must be 4 or 8, got {neighbors}")
    edges = _batched_grid_edges(height, width, neighbors, loop, batch_size, device)
    return EdgeIndex(edges, sort_order="col", sparse_size=(height * width * batch_size,) * 2)


def require_single_grid(x: Any, layout: Layout) -> tuple[int, int]:
    """Return the grid that all nodes lie on, for builders that link the nodes of one grid.

    Raises:
        ValueError: if ``x`` is a pair of node sets, as with pooled neighbours, or the nodes do not form a grid.
    """
    if isinstance(x, tuple):
        raise ValueError(
            "expected the nodes of one grid, got source and destination nodes: use this graph with reduction=1"
        )
    return layout.require_grid("this graph links the nodes of one grid, such as the patches of an image")


def check_grid(height: int, width: int, batch_size: int) -> None:
    """Raise a ValueError for an empty grid."""
    if height < 1 or width < 1 or batch_size < 1:
        raise ValueError(f"height, width and batch_size must be positive, got {height}, {width}, {batch_size}")


def _batched_grid_edges(
    height: int, width: int, neighbors: int, loop: bool, batch_size: int, device: torch.device | str | None
) -> Tensor:
    """Edges of ``batch_size`` disjoint copies of a grid, ``(2, E)``, sorted by destination."""
    edges = _single_grid_edges(height, width, neighbors, loop).to(device)
    offset = torch.arange(batch_size, device=edges.device).mul(height * width).view(1, -1, 1)
    return (edges.unsqueeze(1) + offset).flatten(1)


@torch.compiler.assume_constant_result
def _single_grid_edges(height: int, width: int, neighbors: int, loop: bool) -> Tensor:
    """Edges of a single grid; in numpy, since their number depends on the data, which compilers cannot trace."""
    offsets = np.array(sorted(_OFFSETS[neighbors] + (((0, 0),) if loop else ())))
    dst = np.stack(np.divmod(np.arange(height * width), width), axis=1)[:, None]  # (H * W, 1, 2)
    src = dst + offsets  # (H * W, k, 2)
    node, neighbor = ((src >= 0) & (src < (height, width))).all(-1).nonzero()
    return torch.from_numpy(np.stack([src[node, neighbor] @ (width, 1), node]))


class GridGraph(torch.nn.Module):
    """Links adjacent patches: a graph builder ``(x, layout) -> edge_index`` that ignores the features.

    Returns a cached ``EdgeIndex``, or a plain tensor in compiled regions, where no ``EdgeIndex`` can be created.

    Args:
        neighbors: 4 or 8.
        loop: add every patch to its own neighbours.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import GridGraph, Layout
        >>> GridGraph(4)(torch.rand(8, 3), Layout.from_grid(2, 2, 2)).shape
        torch.Size([2, 16])
    """

    def __init__(self, neighbors: int = 8, *, loop: bool = False) -> None:
        super().__init__()
        if neighbors not in _OFFSETS:
            raise ValueError(f"neighbors must be 4 or 8, got {neighbors}")
        self.neighbors = neighbors
        self.loop = loop

    def extra_repr(self) -> str:
        return f"neighbors={self.neighbors}, loop={self.loop}"

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the edges of the grid that the nodes lie on."""
        grid = require_single_grid(x, layout)
        build = _batched_grid_edges if torch.compiler.is_compiling() else _cached_grid_graph
        return build(*grid, self.neighbors, self.loop, layout.num_graphs, x.device)


@cached_per_device(maxsize=16)
def _cached_grid_graph(
    height: int, width: int, neighbors: int, loop: bool, batch_size: int, device: torch.device
) -> EdgeIndex:
    return grid_graph(height, width, neighbors, loop=loop, batch_size=batch_size, device=device)
