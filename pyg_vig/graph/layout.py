"""How the rows of a node matrix are grouped into graphs.

Inside the blocks, features are always a node matrix ``(N, C)``. A feature map in ``channels_last`` memory *is* such a
matrix, so :func:`to_nodes` and :func:`to_map` copy nothing; no other file reshapes between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_vig.graph.precision import at_least_float32
from pyg_vig.kernels import is_transform_active


@dataclass(frozen=True, eq=False)
class Layout:
    r"""How the :math:`N` rows of a node matrix are grouped into graphs.

    The graphs have the same size (images) or different sizes (point clouds, other graphs). Every block gets the layout
    along with the features; graph builders, pooling and :class:`~pyg_vig.nn.DropPath` read it. Create one with
    :meth:`from_grid`, :meth:`from_equal`, :meth:`from_batch` or :meth:`from_data`.

    Args:
        num_graphs: number of graphs :math:`B`.
        num_nodes: total number of nodes :math:`N` of all graphs.
        grid: height and width in patches, if all graphs are grids of this size (row-major).
        batch: graph index of every node ``(N,)``, sorted; ``None`` if all graphs have the same size.
        grids: height and width of every graph, if they are grids of different sizes.
        edge_index: edges given with the data, read by the ``"given"`` graph builder.
        edge_attr: features of these edges, for convs that take them.

    Example:
        >>> from pyg_vig.graph import Layout
        >>> layout = Layout.from_grid(2, 7, 7)
        >>> layout.num_nodes, layout.nodes_per_graph
        (98, 49)
    """

    num_graphs: int
    num_nodes: int
    grid: tuple[int, int] | None = None
    batch: Tensor | None = None
    grids: tuple[tuple[int, int], ...] | None = None
    edge_index: Any = None
    edge_attr: Tensor | None = None

    @classmethod
    def from_grid(cls, num_graphs: int, height: int, width: int) -> Layout:
        """Build the layout of ``num_graphs`` images of ``height x width`` patches each."""
        return cls(num_graphs, num_graphs * height * width, grid=(height, width))

    @classmethod
    def from_equal(cls, num_graphs: int, nodes_per_graph: int) -> Layout:
        """Build the layout of ``num_graphs`` graphs of ``nodes_per_graph`` nodes each."""
        return cls(num_graphs, num_graphs * nodes_per_graph)

    @classmethod
    def from_batch(cls, batch: Tensor, num_graphs: int | None = None) -> Layout:
        """Build the layout of ragged graphs from PyG's batch vector.

        Raises:
            ValueError: if ``batch`` is not a sorted integer vector within ``num_graphs``.
        """
        if batch.dim() != 1 or batch.dtype == torch.bool or batch.is_floating_point() or batch.is_complex():
            raise ValueError(f"'batch' must be an integer vector (N,), got {batch.dtype} of shape {tuple(batch.shape)}")
        batch = batch.long()
        if num_graphs is not None and torch.compiler.is_compiling():  # values cannot be read there
            return cls(num_graphs, batch.numel(), batch=batch)
        if batch.numel() and (int(batch[0]) < 0 or bool((batch[1:] < batch[:-1]).any())):
            raise ValueError("'batch' must be sorted and non-negative: order the nodes graph by graph")
        min_graphs = int(batch[-1]) + 1 if batch.numel() else 0
        if num_graphs is not None and num_graphs < min_graphs:
            raise ValueError(f"'batch' refers to graph {min_graphs - 1}, but num_graphs is {num_graphs}")
        num_graphs = min_graphs if num_graphs is None else num_graphs
        return cls(num_graphs, batch.numel(), batch=batch)

    @classmethod
    def from_data(cls, data: Data) -> Layout:
        """Build the layout of a graph made by :class:`~pyg_vig.transforms.ImageToGraph`, or of a batch of such graphs
        with the same grid.

        Raises:
            ValueError: if ``data`` has no ``grid``, or grids of different sizes.

        Example:
            >>> import torch
            >>> from pyg_vig.graph import Layout
            >>> from pyg_vig.transforms import ImageToGraph
            >>> Layout.from_data(ImageToGraph(patch_size=16)(torch.rand(3, 64, 96))).grid
            (4, 6)
        """
        if data.get("grid") is None:
            raise ValueError(f"expected a graph made by ImageToGraph, with a grid, got {data}")
        grids = data.grid.view(-1, 2).tolist()
        if any(grid != grids[0] for grid in grids):
            raise ValueError(f"expected images of one size, got grids {grids}: process them one by one")
        return cls.from_grid(len(grids), *grids[0])

    @property
    def is_equal(self) -> bool:
        """Whether all graphs have the same number of nodes by construction."""
        return self.batch is None

    @property
    def nodes_per_graph(self) -> int:
        """Number of nodes of each graph (only if all sizes are equal)."""
        if self.batch is not None:
            raise ValueError("graphs of a ragged layout differ in their number of nodes: use sizes() instead")
        if self.grid is not None:
            return self.grid[0] * self.grid[1]
        return self.num_nodes // max(self.num_graphs, 1)

    def require_grid(self, purpose: str) -> tuple[int, int]:
        """Return height and width in patches.

        Args:
            purpose: what the grid is needed for; the end of the error message.

        Raises:
            ValueError: if the nodes do not form a grid.

        Example:
            >>> from pyg_vig.graph import Layout
            >>> Layout.from_grid(2, 7, 5).require_grid("only images are drawn")
            (7, 5)
        """
        if self.grid is None:
            raise ValueError(f"these nodes do not form a grid: {purpose}")
        return self.grid

    def sizes(self) -> Tensor:
        """Return the number of nodes of every graph, ``(B,)`` int64."""
        if self.batch is None:
            return torch.full((self.num_graphs,), self.nodes_per_graph)
        return torch.bincount(self.batch, minlength=self.num_graphs)

    def batch_vector(self, device: torch.device | None = None) -> Tensor:
        """Return the graph of every node, ``(N,)`` int64 (PyG's ``batch``)."""
        if self.batch is not None:
            return self.batch
        return torch.arange(self.num_graphs, device=device).repeat_interleave(self.nodes_per_graph)

    def with_grids(self, grids: Sequence[tuple[int, int]]) -> Layout:
        """Return this layout with a grid of its own size for every graph, or one grid for all if the sizes are equal.

        Raises:
            ValueError: if the grids do not match the graphs.
        """
        sizes = self.sizes().tolist()
        if [height * width for height, width in grids] != sizes:
            raise ValueError(f"grids {list(grids)} do not match graphs of {sizes} nodes")
        if len(set(grids)) == 1:  # images of one size need no ragged paths
            return replace(self, batch=None, grid=grids[0])
        return replace(self, grids=tuple(grids))

    def with_edges(self, edge_index: Any, edge_attr: Tensor | None = None) -> Layout:
        """Return this layout with edges given with the data, and their features in the same order."""
        return replace(self, edge_index=edge_index, edge_attr=edge_attr)

    def pooled(self, reduction: int) -> Layout:
        """Return the layout after pooling ``reduction x reduction`` patches (incomplete windows are dropped).

        Raises:
            ValueError: if the nodes do not form a grid, or the grid is smaller than one window.
        """
        height, width = self.require_grid(f"pooled neighbours (reduction={reduction}) need one; use reduction=1 here")
        if min(height, width) < reduction:
            raise ValueError(f"a {height} x {width} grid is smaller than the pooling window {reduction}")
        return Layout.from_grid(self.num_graphs, height // reduction, width // reduction)

    def expand(self, per_graph: Tensor) -> Tensor:
        """Broadcast one row per graph to its nodes: ``(B, ...) -> (N, ...)``."""
        if self.batch is not None:
            return per_graph.index_select(0, self.batch)
        rows = per_graph.unsqueeze(1).expand(-1, self.nodes_per_graph, *per_graph.shape[1:])
        return rows.reshape(self.num_nodes, *per_graph.shape[1:])

    def pool(self, x: Tensor, reduce: str = "mean") -> Tensor:
        """Reduce the nodes of every graph: ``(N, C) -> (B, C)``; an empty graph gives zeros.

        Args:
            x: node matrix.
            reduce: ``"mean"``, ``"max"`` or ``"sum"``.
        """
        if reduce not in ("mean", "max", "sum"):
            raise ValueError(f"reduce must be 'mean', 'max' or 'sum', got {reduce!r}")
        if self.batch is not None or self.num_nodes == 0:
            # In half precision, counts and sums of large graphs would overflow or stall.
            return scatter(at_least_float32(x), self.batch_vector(x.device), 0, self.num_graphs, reduce).to(x.dtype)
        graphs = x.view(self.num_graphs, self.nodes_per_graph, x.size(-1))
        return graphs.amax(1) if reduce == "max" else getattr(graphs, reduce)(1)


def patch_at(point: tuple[float, float], grid: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of the patch at a point of the image.

    Args:
        point: the point, as fractions of height and width in [0, 1).
        grid: height and width in patches.

    Raises:
        ValueError: if the point is outside the image.

    Example:
        >>> from pyg_vig.graph.layout import patch_at
        >>> patch_at((0.5, 0.9), (7, 7))
        (3, 6)
    """
    if not all(0 <= fraction < 1 for fraction in point):
        raise ValueError(f"a point must be fractions of height and width in [0, 1), got {tuple(point)}")
    return int(point[0] * grid[0]), int(point[1] * grid[1])


def to_nodes(feature_map: Tensor) -> tuple[Tensor, Layout]:
    """Convert a feature map ``(B, C, H, W)`` to a node matrix ``(B * H * W, C)``; a view in ``channels_last`` memory.

    Raises:
        ValueError: if the tensor does not have four dimensions.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import to_map, to_nodes
        >>> x, layout = to_nodes(torch.rand(2, 8, 4, 4))
        >>> x.shape, to_map(x, layout).shape
        (torch.Size([32, 8]), torch.Size([2, 8, 4, 4]))
    """
    if feature_map.dim() != 4:
        shape = tuple(feature_map.shape)
        raise ValueError(f"expected a feature map (B, C, H, W), got shape {shape}: use unsqueeze(0) for a single one")
    batch, channels, height, width = feature_map.shape
    return feature_map.permute(0, 2, 3, 1).reshape(-1, channels), Layout.from_grid(batch, height, width)


def to_map(x: Tensor, layout: Layout) -> Tensor:
    """View a node matrix on a grid as a feature map ``(B, C, H, W)`` in ``channels_last`` memory, without a copy.

    Raises:
        ValueError: if the layout has no grid, or its number of nodes differs from that of the matrix.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import Layout, to_map
        >>> to_map(torch.rand(24, 8), Layout.from_grid(2, 3, 4)).shape
        torch.Size([2, 8, 3, 4])
    """
    height, width = layout.require_grid("they cannot become a feature map (B, C, H, W)")
    if x.dim() != 2 or x.size(0) != layout.num_nodes:
        grids = f"{layout.num_graphs} x {height} x {width} = {layout.num_nodes} nodes"
        raise ValueError(f"x must have shape (N, C) with the layout's {grids}, got {tuple(x.shape)}")
    return x.view(layout.num_graphs, height, width, x.size(-1)).permute(0, 3, 1, 2)


def channels_last(feature_map: Tensor) -> Tensor:
    """Convert to ``channels_last`` memory, which :func:`to_nodes` need not copy.

    Does nothing in tracing and function transforms: vmap does not support this memory format.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.layout import channels_last
        >>> channels_last(torch.rand(2, 3, 4, 4)).stride()
        (48, 1, 12, 3)
    """
    return feature_map if is_transform_active() else feature_map.contiguous(memory_format=torch.channels_last)
