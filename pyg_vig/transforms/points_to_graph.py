"""Convert a point cloud to a graph of neighbouring points."""

from __future__ import annotations

import copy
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from pyg_vig.graph import knn_graph
from pyg_vig.transforms.images import read_label


class PointsToGraph(BaseTransform):
    r"""Links every point to its neighbours: points ``(N, D)`` (tensor or array), a pair ``(points, label)``, or a
    :class:`~torch_geometric.data.Data` with ``pos``, become a ``Data`` with

    - **x**: ``pos``, concatenated with the ``normal`` (or ``norm``) of every point and the existing ``x``, if the data
      has these, ``(N, D)``, ``(N, 2 D)`` or wider
    - **pos**: the points
    - **edge_index**: ``(2, E)``, source row first, sorted by destination, nearest neighbour first
    - **edge_attr**: offset from the destination to the source, and its length, ``(E, D + 1)``, if requested
    - **y**: the label, with a leading dimension of 1

    Other attributes of the data are kept. A ``Batch`` gets no edges between its clouds.

    Args:
        k: number of neighbours per point; with ``radius``, their maximum number.
        radius: maximum distance of neighbours, in the unit of ``pos``.
        loop: make every point its own first neighbour (one of the ``k``).
        edge_attr: whether to store offset and length of every edge.

    Raises:
        ValueError: if the input is not a point cloud, or (without ``radius``) has too few points for ``k`` neighbours.

    Example:
        >>> import torch
        >>> from pyg_vig.transforms import PointsToGraph
        >>> PointsToGraph(k=8, edge_attr=True)(torch.rand(100, 3))
        Data(pos=[100, 3], x=[100, 3], edge_index=[2, 800], edge_attr=[800, 4])
    """

    def __init__(
        self, k: int = 16, *, radius: float | None = None, loop: bool = False, edge_attr: bool = False
    ) -> None:
        if k < 1 or (radius is not None and radius <= 0):
            raise ValueError(f"k and radius must be positive, got k={k}, radius={radius}")
        self.k = k
        self.radius = radius
        self.loop = loop
        self.edge_attr = edge_attr

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k}, radius={self.radius}, loop={self.loop}, edge_attr={self.edge_attr})"

    def forward(self, data: Any) -> Data:
        """Link the points of one cloud, or of every cloud in a batch."""
        if isinstance(data, Batch) and hasattr(data, "_slice_dict"):  # it stores where the clouds' attributes begin
            return Batch.from_data_list([self.forward(cloud) for cloud in data.to_data_list()])
        graph = _read_points(data)
        graph.x = _features(graph)
        batch = graph.get("batch")
        if batch is not None and (batch.diff() < 0).any():
            raise ValueError(f"batch must be sorted, one cloud after the other, got {batch.tolist()[:10]}")
        sizes = [len(graph.pos)] if batch is None else batch.bincount().tolist()
        starts = [0, *accumulate(sizes)]
        clouds = graph.pos.split(sizes)
        graph.edge_index = torch.cat([self._edges(pos) + i for pos, i in zip(clouds, starts, strict=False)], dim=1)
        graph.edge_attr = None  # any existing one belongs to other edges
        if self.edge_attr:
            source, target = graph.edge_index
            offset = graph.pos[source] - graph.pos[target]
            graph.edge_attr = torch.cat([offset, offset.norm(dim=1, keepdim=True)], dim=1)
        return graph

    def _edges(self, pos: Tensor) -> Tensor:
        """Edges of one cloud."""
        k = self.k
        if self.radius is not None:
            k = min(k, len(pos) - (not self.loop))
            if k < 1:
                return torch.empty(2, 0, dtype=torch.int64, device=pos.device)
        edges = knn_graph(pos, k, loop=self.loop).as_tensor()
        if self.radius is None:
            return edges
        return edges[:, (pos[edges[0]] - pos[edges[1]]).norm(dim=1) <= self.radius]


def _features(graph: Data) -> Tensor:
    """Position of every point, concatenated with its normal and its other features."""
    normal = "norm" if graph.get("normal") is None else "normal"
    parts = [graph.pos]
    for name in (normal, "x"):
        rows = graph.get(name)
        if rows is None:
            continue
        if len(rows) != len(graph.pos):
            raise ValueError(f"{name} must have one row for each of the {len(graph.pos)} points, got {len(rows)} rows")
        parts.append(rows.unsqueeze(1) if rows.dim() == 1 else rows)
    return torch.cat(parts, dim=1)


def _read_points(source: Any) -> Data:
    if isinstance(source, Data):
        graph = copy.copy(source)
    elif isinstance(source, tuple | list) and len(source) == 2:
        graph = Data(pos=source[0], y=read_label(source[1]))
    else:
        graph = Data(pos=source)
    if isinstance(graph.pos, np.ndarray):
        graph.pos = torch.from_numpy(graph.pos)
    if not isinstance(graph.pos, Tensor) or graph.pos.dim() != 2 or not graph.pos.is_floating_point():
        pos = graph.pos
        got = f"{pos.dtype} of shape {tuple(pos.shape)}" if isinstance(pos, Tensor) else type(pos).__name__
        raise ValueError(f"expected points (N, D) in floating point, alone or as pos of a Data, got {got}")
    return graph
