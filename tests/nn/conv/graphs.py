"""Graphs to test the convs on, and random parameters that leave no term of an equation trivial."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex

from pyg_vig.graph import Adjacency, NeighborTable, as_edge_index

NUM_SRC, NUM_DST, CHANNELS = 7, 9, 12
NAMES = ["table", "irregular", "bipartite table", "bipartite irregular"]


class Graph(NamedTuple):
    """Node features, as one matrix or a pair (source, target), and an adjacency."""

    x: Tensor | tuple[Tensor, Tensor]
    adjacency: Adjacency

    @property
    def source(self) -> Tensor:
        return self.x[0] if isinstance(self.x, tuple) else self.x

    @property
    def target(self) -> Tensor:
        return self.x[1] if isinstance(self.x, tuple) else self.x

    @property
    def edge_index(self) -> Tensor:
        """Plain edge list, for which every conv evaluates its edge-by-edge definition."""
        return as_edge_index(self.adjacency).as_tensor()


def make(name: str, dtype: torch.dtype = torch.float64) -> Graph:
    """Create one of ``NAMES``; in irregular graphs, nodes 0, 4 and the last have no neighbours."""
    target = torch.randn(NUM_DST, CHANNELS, dtype=dtype)
    source = torch.randn(NUM_SRC, CHANNELS, dtype=dtype) if "bipartite" in name else target
    x, n = ((source, target) if "bipartite" in name else target), source.size(0)
    if "irregular" not in name:
        return Graph(x, NeighborTable(torch.stack([torch.randperm(n)[:3] for _ in range(NUM_DST)]), n))
    degrees = [0, 1, 2, 5, 0, 3, 1, 4, 0]
    src = torch.cat([torch.randperm(n)[:degree] for degree in degrees])
    dst = torch.arange(NUM_DST).repeat_interleave(torch.tensor(degrees))
    return Graph(x, EdgeIndex(torch.stack([src, dst]), sort_order="col", sparse_size=(n, NUM_DST)))


def randomize(module: nn.Module) -> nn.Module:
    """Randomise parameters and statistics, including negative scales of batch norm."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if name.endswith("running_var") else torch.randn_like(tensor)
                )
    return module
