"""Graphs whose edges are given with the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import is_sparse, to_edge_index

from pyg_vig.graph.adjacency import plain_edge_index
from pyg_vig.graph.layout import Layout


class GivenGraph(torch.nn.Module):
    """Returns the edges stored in the layout: a graph builder for static graphs.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import GivenGraph, Layout, grid_graph
        >>> layout = Layout.from_grid(1, 2, 2).with_edges(grid_graph(2, 2, neighbors=4))
        >>> GivenGraph()(torch.rand(4, 3), layout).shape
        torch.Size([2, 8])
    """

    def forward(self, x: Any, layout: Layout) -> Tensor:
        """Return the given edges."""
        if isinstance(x, tuple) or layout.edge_index is None:
            raise ValueError(
                "graph='given' needs an edge_index as well as nodes: pass a PyG Data or Batch with an edge_index"
            )
        return layout.edge_index


def sorted_edges(edge_index: Tensor, num_nodes: int) -> EdgeIndex:
    """Check an ``edge_index`` and sort it by destination, so that every block can use the fused path.

    Args:
        edge_index: edges ``(2, E)``, or a sparse ``adj_t`` of ones with a row per destination.
        num_nodes: number of nodes.

    Raises:
        ValueError: for a wrong shape or dtype, a node that does not exist, or an ``adj_t`` with values other than 1.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import sorted_edges
        >>> sorted_edges(torch.tensor([[0, 2, 1], [2, 0, 0]]), num_nodes=3).tolist()
        [[2, 1, 0], [0, 0, 2]]
    """
    return sorted_with_attr(edge_index, None, num_nodes)[0]


def sorted_with_attr(edge_index: Tensor, edge_attr: Tensor | None, num_nodes: int) -> tuple[EdgeIndex, Tensor | None]:
    """Like :func:`sorted_edges`, but also returns the edge features in the same order.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.given import sorted_with_attr
        >>> edges, edge_attr = sorted_with_attr(torch.tensor([[0, 2], [2, 0]]), torch.tensor([0.5, 1.0]), num_nodes=3)
        >>> edges.tolist(), edge_attr.tolist()
        ([[2, 0], [0, 2]], [1.0, 0.5])
    """
    size = (num_nodes, num_nodes)
    if is_sparse(edge_index):
        if not bool((to_edge_index(edge_index)[1] == 1).all()):
            raise ValueError("adj_t has values other than 1: pass edge_index, and the values as edge_attr")
        edge_index = plain_edge_index(edge_index)
    if edge_index.dtype in (torch.uint8, torch.int16, torch.int32):
        edge_index = plain_edge_index(edge_index).long()
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            f"edge_index must be int64 of shape (2, E), got {edge_index.dtype} of shape {tuple(edge_index.shape)}"
        )
    if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes):
        low, high = int(edge_index.min()), int(edge_index.max())
        raise ValueError(f"edge_index refers to nodes {low} to {high}, but there are only nodes 0 to {num_nodes - 1}")
    if isinstance(edge_index, EdgeIndex) and edge_index.is_sorted_by_col and edge_index.sparse_size() == size:
        return edge_index, edge_attr
    edge_index = plain_edge_index(edge_index)
    order = edge_index[1].argsort(stable=True)
    edges = EdgeIndex(edge_index[:, order].contiguous(), sort_order="col", sparse_size=size)
    return edges, None if edge_attr is None else edge_attr[order]


def check_edge_attr(edge_attr: Tensor | None, num_edges: int, edge_dim: int | None) -> None:
    """Check that edge features ``(E, edge_dim)`` (or ``(E,)`` for one) are given if, and only if, they are expected.

    Raises:
        ValueError: if features are missing, unexpected, or of another shape.
    """
    if (edge_attr is None) != (edge_dim is None):
        got = "none" if edge_attr is None else f"{edge_attr.dtype} of shape {tuple(edge_attr.shape)}"
        raise ValueError(f"the network was built with edge_dim={edge_dim}, but got {got} as edge_attr")
    if edge_attr is None or (edge_dim == 1 and edge_attr.shape == (num_edges,)):
        return
    if edge_attr.shape != (num_edges, edge_dim):
        expected = (num_edges, edge_dim)
        raise ValueError(f"edge_attr must have shape (E, edge_dim) = {expected}, got {tuple(edge_attr.shape)}")
