"""Lengths of the edges of a graph, and how often they link nodes with the same label."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from pyg_vig.analysis.labels import UNLABELLED, patch_labels
from pyg_vig.graph import Layout
from pyg_vig.models.record import RecordedGraphs


def patch_centers(layout: Layout, size: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Centres of all patches of a batch, ``(N, 2)``, as ``(x, y)`` with x to the right and y downwards.

    Args:
        layout: the grid of the patches.
        size: height and width of the images, in the unit of the result; by default, the result is relative to both.

    Raises:
        ValueError: for nodes that are not on a grid.

    Example:
        >>> from pyg_vig.analysis import patch_centers
        >>> from pyg_vig.graph import Layout
        >>> patch_centers(Layout.from_grid(1, 1, 2), size=(16, 32)).tolist()
        [[8.0, 8.0], [24.0, 8.0]]
    """
    grid = layout.require_grid("use the pos of their data instead")
    y, x = ((torch.arange(n) + 0.5) * length / n for n, length in zip(grid, size, strict=True))
    return torch.cartesian_prod(y, x).flip(1).repeat(layout.num_graphs, 1)


def edge_lengths(edge_index: Tensor, pos: Tensor, source_pos: Tensor | None = None) -> Tensor:
    """Euclidean length of every edge, ``(E,)``.

    Args:
        edge_index: ``(2, E)``, source row first.
        pos: positions of the nodes ``(N, D)``, for instance from :func:`patch_centers`.
        source_pos: positions of the source nodes, if these are a separate set (pooled neighbours).

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import edge_lengths
        >>> edge_lengths(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [5.0, 0.0]
    """
    source, destination = edge_index.detach().cpu()
    return ((pos if source_pos is None else source_pos)[source] - pos[destination]).norm(dim=1)


def edge_length_by_block(graphs: RecordedGraphs, size: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Mean edge length of every image in every block, ``(blocks, B)``; self-loops do not count.

    Args:
        graphs: recorded by :func:`pyg_vig.record_graphs` in one forward pass.
        size: height and width of the images, in the unit of the result; by default, the result is relative to both.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.analysis import edge_length_by_block
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(torch.rand(2, 3, 32, 32))
        >>> edge_length_by_block(graphs, size=(32, 32)).shape
        torch.Size([6, 2])
    """
    rows = []
    for edge_index, layout, source_layout in zip(graphs, graphs.layouts, graphs.source_layouts, strict=True):
        lengths = edge_lengths(edge_index, patch_centers(layout, size), patch_centers(source_layout, size))
        mask = _mask_without_self_loops(edge_index, same_nodes=source_layout is layout)
        image = layout.batch_vector()[edge_index.detach().cpu()[1, mask]]
        rows.append(scatter(lengths[mask], image, 0, layout.num_graphs, "mean"))
    return torch.stack(rows)


def neighbor_purity(edge_index: Tensor, labels: Tensor, source_labels: Tensor | None = None) -> Tensor:
    """Share of each node's neighbours that have the same label as the node, ``(N,)``.

    Self-loops and neighbours without a label (-1) do not count; a node without a label, or without any neighbour that
    counts, gives NaN.

    Args:
        edge_index: ``(2, E)``, source row first.
        labels: label of every node ``(N,)``, -1 for none.
        source_labels: labels of the source nodes, if these are a separate set (pooled neighbours).

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import neighbor_purity
        >>> neighbor_purity(torch.tensor([[1, 2, 0], [0, 0, 0]]), torch.tensor([7, 7, 5])).tolist()
        [0.5, nan, nan]
    """
    edges = edge_index.detach().cpu()
    edges = edges[:, _mask_without_self_loops(edges, same_nodes=source_labels is None)]
    sources = (labels if source_labels is None else source_labels)[edges[0]]
    counted = (sources != UNLABELLED) & (labels[edges[1]] != UNLABELLED)
    same_label = (sources == labels[edges[1]])[counted].double()
    total = scatter(same_label, edges[1, counted], 0, labels.size(0), "sum")
    return total / edges[1, counted].bincount(minlength=labels.size(0))


def chance_purity(labels: Tensor) -> float:
    """Expected purity of neighbours drawn at random from all other labelled nodes.

    Args:
        labels: labels of the nodes of one image, -1 for none.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import chance_purity
        >>> chance_purity(torch.tensor([0, 0, 0, 1, -1]))
        0.5
    """
    counts = labels[labels != UNLABELLED].unique(return_counts=True)[1].double()
    nodes = counts.sum()
    return float((counts * (counts - 1)).sum() / (nodes * (nodes - 1)))


def purity_by_block(graphs: RecordedGraphs, masks: Tensor) -> Tensor:
    """Mean :func:`neighbor_purity` of every image in every block, ``(blocks, B)``; NaN for an image without labels.

    Args:
        graphs: recorded by :func:`pyg_vig.record_graphs` in one forward pass.
        masks: labels of the pixels ``(B, H, W)``, -1 for none; a patch gets the most frequent label of its pixels.

    Raises:
        ValueError: if the numbers of masks and images differ, or for nodes that are not on a grid.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.analysis import purity_by_block
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(torch.rand(2, 3, 32, 32))
        >>> purity_by_block(graphs, torch.zeros(2, 32, 32, dtype=torch.int64))[0].tolist()
        [1.0, 1.0]
    """
    rows = []
    for edge_index, layout, source_layout in zip(graphs, graphs.layouts, graphs.source_layouts, strict=True):
        labels = _batch_labels(masks, layout)
        source_labels = None if source_layout is layout else _batch_labels(masks, source_layout)
        rows.append(neighbor_purity(edge_index, labels, source_labels).view(layout.num_graphs, -1).nanmean(1))
    return torch.stack(rows)


def _batch_labels(masks: Tensor, layout: Layout) -> Tensor:
    grid = layout.require_grid("their patches have no labels")
    if len(masks) != layout.num_graphs:
        raise ValueError(f"expected one mask per image, got {len(masks)} masks for {layout.num_graphs} images")
    return torch.stack([patch_labels(mask, grid) for mask in masks]).flatten()


def _mask_without_self_loops(edge_index: Tensor, *, same_nodes: bool) -> Tensor:
    """Mask of the edges that are not self-loops, which exist only if source and destination nodes are the same."""
    source, destination = edge_index.detach().cpu()
    return source != destination if same_nodes else torch.ones(source.numel(), dtype=torch.bool)
