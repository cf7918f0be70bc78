"""The data behind the explorer: neighbours, weights and similarities of every block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.analysis.attention import has_attention_weights
from pyg_vig.graph.adjacency import plain_edge_index
from pyg_vig.models.record import RecordedBlock, record_blocks
from pyg_vig.nn import CrossAttentionConv
from pyg_vig.nn.conv.neighbor_conv import source_and_destination

NodePair = tuple[Tensor, Tensor]  # sources, destinations


@dataclass(frozen=True)
class BlockGraph:
    """The graph of one block over the patches of one image.

    The neighbours of patch ``i`` (row-major in ``grid``) are ``neighbors[pointers[i] : pointers[i + 1]]``, in the
    network's order (nearest first in k-NN graphs) and without duplicates. They are patches of ``source_grid``, which is
    coarser than ``grid`` if neighbours are pooled.

    Attributes:
        name: module name of the Grapher.
        grid: rows and columns of patches.
        source_grid: rows and columns of the patches that serve as neighbours.
        pointers: ``(N + 1,)`` int64.
        neighbors: ``(E,)`` int64.
        weights: weight of every neighbour, ``(E,)``: the conv's weight averaged over heads, or the similarity.
        attention: whether ``weights`` are those of the conv.
        queries: unit vectors of the patches, ``(N, C)``; their dot products with ``keys`` are the similarities.
        keys: unit vectors of the sources, ``(N_src, C)``.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.explore import capture_graphs
        >>> block = capture_graphs(pyg_vig.create_model("vig_nano"), torch.rand(3, 32, 32))[0]
        >>> block.grid, block.neighbors_of(0).shape, block.attention
        ((8, 8), (6,), False)
    """

    name: str
    grid: tuple[int, int]
    source_grid: tuple[int, int]
    pointers: np.ndarray
    neighbors: np.ndarray
    weights: np.ndarray
    attention: bool
    queries: Tensor
    keys: Tensor

    def neighbors_of(self, patch: int) -> np.ndarray:
        """Return the neighbours of one patch, in the network's order."""
        return self.neighbors[self.pointers[patch] : self.pointers[patch + 1]]


@torch.no_grad()
def capture_graphs(model: nn.Module, image: Tensor) -> list[BlockGraph]:
    """Run a network on one image and return the graph of every block, as the explorer shows it.

    The similarity of two patches is the cosine similarity of query and key (averaged over heads) for
    :class:`~pyg_vig.nn.CrossAttentionConv`, and of the features that the graph is built from for all other convs.

    Args:
        model: any network with :class:`~pyg_vig.nn.Grapher` modules on grids; it is run in evaluation mode.
        image: input of the network, ``(C, H, W)``, on any device and in any precision.

    Raises:
        ValueError: for an image of another shape, a model without a Grapher, nodes that are not on a grid, or features
            that are not finite.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.explore import capture_graphs
        >>> blocks = capture_graphs(pyg_vig.create_model("vig_nano", conv="GATConv"), torch.rand(3, 32, 48))
        >>> len(blocks), blocks[0].grid, blocks[0].attention
        (6, (8, 12), True)
    """
    if image.dim() != 3:
        raise ValueError(f"expected one image (C, H, W), got shape {tuple(image.shape)}")
    parameter = next(model.parameters(), image)
    with record_blocks(model, image.unsqueeze(0).to(parameter)) as blocks:
        return [_capture_block(block) for block in blocks]


def _capture_block(block: RecordedBlock) -> BlockGraph:
    layouts = block.layout, block.source_layout
    grid, source_grid = (layout.require_grid("the explorer shows patches of a photo") for layout in layouts)
    conv, nodes = block.conv, source_and_destination(block.arguments[0])
    edges = _sort_and_deduplicate(plain_edge_index(block.edge_index), nodes)
    queries, keys = _queries_and_keys(conv, nodes)
    attention = _attention_weights(conv, nodes, edges)
    similarity = (queries[edges[1]] * keys[edges[0]]).sum(-1)
    if not similarity.isfinite().all():
        raise ValueError(f"features must be finite to compute similarities, but those of {block.name} are not")
    num_neighbors = torch.bincount(edges[1], minlength=nodes[1].size(0))
    return BlockGraph(
        block.name,
        grid,
        source_grid,
        pointers=np.concatenate([[0], num_neighbors.cumsum(0).cpu().numpy()]),
        neighbors=edges[0].cpu().numpy(),
        weights=(similarity if attention is None else attention).double().cpu().numpy(),
        attention=attention is not None,
        queries=queries.cpu(),
        keys=keys.cpu(),
    )


def _sort_and_deduplicate(edge_index: Tensor, nodes: NodePair) -> Tensor:
    """Sort edges by destination (stably) and remove duplicates (dynamic axial graphs repeat the patch itself)."""
    edge_index = edge_index[:, edge_index[1].argsort(stable=True)]
    edge_ids = edge_index[1] * nodes[0].size(0) + edge_index[0]
    _, inverse = edge_ids.unique(return_inverse=True)
    position = torch.arange(edge_ids.numel(), device=edge_ids.device)
    first = torch.full_like(edge_ids, edge_ids.numel()).scatter_reduce(0, inverse, position, "amin")
    return edge_index[:, position == first[inverse]]


def _queries_and_keys(conv: nn.Module, nodes: NodePair) -> NodePair:
    """Unit vectors of destinations and sources, whose dot products are the similarities; one tensor if both agree."""
    if isinstance(conv, CrossAttentionConv):
        projected = (conv.query(nodes[1]), conv.key(nodes[0]))
        heads = (F.normalize(x.float().unflatten(1, (conv.heads, -1)), dim=-1) for x in projected)
        queries, keys = (x.flatten(1) / conv.heads**0.5 for x in heads)
        return queries, keys
    key = F.normalize(nodes[0].float(), dim=-1)
    return (key if nodes[1] is nodes[0] else F.normalize(nodes[1].float(), dim=-1)), key


def _attention_weights(conv: nn.Module, nodes: NodePair, edges: Tensor) -> Tensor | None:
    """The conv's weight of every edge, ``(E,)``; ``None`` if the conv does not return weights."""
    if not has_attention_weights(conv):
        return None
    x = nodes if nodes[0] is not nodes[1] else nodes[0]
    _, (edge_index, alpha) = conv(x, edges, return_attention_weights=True)
    alpha = alpha.flatten(1).mean(1) if alpha.dim() > 1 else alpha
    ids, target_ids = (entry[1] * nodes[0].size(0) + entry[0] for entry in (edge_index, edges))
    ids, order = ids.sort()  # GAT convs return the edges in another order, with self-loops added
    return alpha[order[torch.searchsorted(ids, target_ids)]]
