"""Attention from selected patches to all patches of the image, in every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyg_vig.graph import NeighborTable
from pyg_vig.graph.layout import patch_at
from pyg_vig.models.record import RecordedBlock, find_convs, record_blocks
from pyg_vig.nn import CrossAttentionConv
from pyg_vig.nn.conv.neighbor_conv import source_and_destination

Point = tuple[float, float]


@torch.no_grad()
def similarity_maps(model: nn.Module, image: Tensor, points: Sequence[Point]) -> list[Tensor]:
    """Compute the attention weights from selected patches to all patches, per Grapher (as in the figures of
    `"AttentionViG" <https://arxiv.org/abs/2509.25570>`_).

    The weights are those of :class:`~pyg_vig.nn.CrossAttentionConv` with all patches as neighbours, averaged over
    heads. The exponential affinity of two patches does not depend on the graph; softmax is taken over the whole map.

    Args:
        model: a network with ``conv="cross_attention"``; it is run in evaluation mode.
        image: input image ``(C, H, W)``, preprocessed for the network.
        points: points in the image, as fractions of its height and width in [0, 1). Each selects, in every block, the
            patch that contains it.

    Returns:
        A tensor ``(len(points), H_i, W_i)`` per Grapher with a cross-attention conv, in order; if neighbours are
        pooled, on the grid of pooled patches.

    Raises:
        ValueError: if the network has no cross-attention, its nodes lie on no grid, or a point is outside the image.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.models import similarity_maps
        >>> model = pyg_vig.create_model("vig_nano", conv="cross_attention")
        >>> maps = similarity_maps(model, torch.rand(3, 32, 48), [(0.5, 0.5), (0.1, 0.9)])
        >>> len(maps), maps[0].shape
        (6, torch.Size([2, 8, 12]))
    """
    if not points or any(not (0 <= fraction < 1) for point in points for fraction in point):
        raise ValueError(f"points must be a non-empty list of fractions (height, width) in [0, 1), got {list(points)}")
    if not any(isinstance(conv, CrossAttentionConv) for conv in find_convs(model).values()):
        raise ValueError(f"this {type(model).__name__} has no CrossAttentionConv: build it with conv='cross_attention'")
    with record_blocks(model, image.unsqueeze(0)) as blocks:
        return [_attention_weights(block, points) for block in blocks if isinstance(block.conv, CrossAttentionConv)]


def _attention_weights(block: RecordedBlock, points: Sequence[Point]) -> Tensor:
    """Return the attention weights ``(P, H, W)`` of all source nodes for the selected destination nodes."""
    source, destination = block.source_layout, block.layout
    nodes, queries = source_and_destination(block.arguments[0])
    source_grid = source.require_grid("there is no map of them")
    height, width = destination.require_grid("there is no map of them")
    patches = [patch_at(point, (height, width)) for point in points]
    selected = [row * width + column for row, column in patches]
    all_nodes = torch.arange(source.num_nodes, device=nodes.device).expand(len(selected), -1)
    graph = NeighborTable(all_nodes, source.num_nodes)
    _, (_, alpha) = block.conv((nodes, queries[selected]), graph, return_attention_weights=True)
    return alpha.mean(-1).view(len(selected), *source_grid)
