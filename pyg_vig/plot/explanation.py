"""Plots of explanations by PyG's explainers, over the image."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.explain import Explanation

from pyg_vig.plot.style import COLORS, draw_grayscale, draw_values
from pyg_vig.transforms import to_image
from pyg_vig.transforms.images import check_single_graph

_MAX_LINE_WIDTH = 3.0  # line width of the strongest edge, in points


def importance_map(data: Data, explanation: Explanation) -> Tensor:
    """Convert the node mask of an explanation to a map over the image: absolute values, summed over channels.

    Args:
        data: the graph that was explained, made by :class:`~pyg_vig.transforms.ImageToGraph` or by
            :class:`~pyg_vig.transforms.ToSuperpixels` with ``keep_segmentation=True``.
        explanation: what an :class:`~torch_geometric.explain.Explainer` returned for this graph.

    Returns:
        One value per pixel ``(H, W)`` if the mask has one for every pixel of a patch, else one per patch
        ``(H_p, W_p)``; superpixels always give ``(H, W)``.

    Raises:
        ValueError: for an explanation without a node mask or with a different number of nodes, or a batch of graphs.

    Example:
        >>> import torch
        >>> from torch_geometric.explain import Explanation
        >>> from pyg_vig.plot import importance_map
        >>> from pyg_vig.transforms import ImageToGraph
        >>> data = ImageToGraph(8, graph="grid")(torch.rand(3, 32, 48))
        >>> importance_map(data, Explanation(node_mask=torch.rand(24, 1))).shape
        torch.Size([4, 6])
        >>> importance_map(data, Explanation(node_mask=torch.rand(24, 3 * 8 * 8))).shape
        torch.Size([32, 48])
    """
    check_single_graph(data)
    mask = explanation.get("node_mask")
    if mask is None or mask.dim() != 2 or mask.size(0) != data.num_nodes:
        shape = None if mask is None else tuple(mask.shape)
        raise ValueError(f"expected a node mask with {data.num_nodes} rows, got {shape}: set node_mask_type")
    mask = mask.detach().abs()
    if data.get("segmentation") is not None:
        return mask.sum(1)[data.segmentation[0]]
    if data.get("grid") is None:
        raise ValueError(
            "expected nodes that are patches or superpixels: make data with ImageToGraph, or "
            "ToSuperpixels(keep_segmentation=True)"
        )
    if mask.shape == data.x.shape:
        return to_image(Data(x=mask, grid=data.grid, pos=data.pos)).sum(0)
    return mask.sum(1).view(*data.grid[0].tolist())


def plot_explanation(
    image: Tensor | ArrayLike,
    data: Data,
    explanation: Explanation,
    *,
    edges: int = 40,
    color: str = COLORS[1],
    ax: Axes | None = None,
) -> Axes:
    """Draw an explanation over the image in greyscale: the node mask as colours, the strongest edges as lines.

    Takes the explanations of any PyG explainer for a network that was called as ``model(x, edge_index)``, for example
    a :class:`~pyg_vig.nn.GraphEncoder` (GNNExplainer, CaptumExplainer, and for cross-attention AttentionExplainer).

    Args:
        image: the image, ``(C, H, W)`` tensor or ``(H, W, C)`` array, uint8 or in [0, 1].
        data: the graph of the image (see :func:`importance_map`).
        explanation: an explanation with a node mask, an edge mask, or both.
        edges: number of edges to draw, strongest first; line widths are proportional to their mask values. Self-loops
            are not drawn.
        color: colour of the edges.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: for an explanation without any mask, or one that does not fit the graph.

    Example:
        >>> import torch
        >>> from torch_geometric.explain import Explanation
        >>> from pyg_vig.plot import plot_explanation
        >>> from pyg_vig.transforms import ImageToGraph
        >>> image = torch.rand(3, 32, 48)
        >>> data = ImageToGraph(8, graph="grid")(image)
        >>> masks = {"node_mask": torch.rand(24, 1), "edge_mask": torch.rand(data.num_edges)}
        >>> ax = plot_explanation(image, data, Explanation(edge_index=data.edge_index, **masks))
    """
    node_mask, edge_mask = explanation.get("node_mask"), explanation.get("edge_mask")
    if node_mask is None and edge_mask is None:
        raise ValueError(
            "expected a node mask or an edge mask, got neither: set node_mask_type or edge_mask_type of the explainer"
        )
    ax = draw_grayscale(image, ax)
    if node_mask is not None:
        draw_values(ax, importance_map(data, explanation), cmap="inferno")
    if edge_mask is not None:
        edge_index = data.edge_index if explanation.get("edge_index") is None else explanation.edge_index
        ax.add_collection(_strongest_edges(data.pos, edge_index, edge_mask, edges, color))
    return ax


def _strongest_edges(pos: Tensor, edge_index: Tensor, edge_mask: Tensor, count: int, color: str) -> LineCollection:
    """Return lines for the ``count`` strongest edges."""
    weight = edge_mask.detach().abs().cpu()
    if weight.shape != edge_index.shape[1:]:
        raise ValueError(f"expected an edge mask for {edge_index.size(1)} edges, got {tuple(weight.shape)}")
    source, destination = torch.as_tensor(edge_index).cpu()
    weight = weight.masked_fill(source == destination, 0)
    strongest = weight.topk(min(count, int((weight > 0).sum()))).indices
    lines = torch.stack([pos.cpu()[source[strongest]], pos.cpu()[destination[strongest]]], dim=1)
    weight = weight[strongest]
    widths = _MAX_LINE_WIDTH * (weight / weight.max() if len(weight) else weight)
    return LineCollection(list(lines.numpy()), linewidths=widths.numpy(), colors=color, capstyle="round")
