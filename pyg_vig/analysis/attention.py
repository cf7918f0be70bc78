"""Attention weights of the convs that have them."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout, as_edge_index
from pyg_vig.models.record import RecordedBlock, find_convs, record_blocks


class BlockAttention(NamedTuple):
    """Attention weights of one block.

    Attributes:
        edge_index: ``(2, E)``, source row first, with the self-loops that the conv adds, if any.
        alpha: weight of every edge and head, ``(E, heads)``.
        layout: how the destination nodes group into images.
        source_layout: the same for the source nodes; coarser if neighbours are pooled.
        name: module name of the Grapher.

    Example:
        >>> from pyg_vig.analysis import BlockAttention
        >>> BlockAttention._fields
        ('edge_index', 'alpha', 'layout', 'source_layout', 'name')
    """

    edge_index: Tensor
    alpha: Tensor
    layout: Layout
    source_layout: Layout
    name: str


@torch.no_grad()
def attention_weights(model: nn.Module, images: Tensor) -> list[BlockAttention]:
    """Return the attention weights of every block, in order.

    Args:
        model: network whose conv takes ``return_attention_weights``: ``"cross_attention"``, or PyG's ``GATConv``,
            ``GATv2Conv`` and ``TransformerConv``; runs in evaluation mode.
        images: input of the network, ``(B, C, H, W)``.

    Raises:
        ValueError: for a network without such a conv.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.analysis import attention_weights
        >>> model = pyg_vig.create_model("vig_nano", conv="cross_attention")
        >>> first, *_ = attention_weights(model, torch.rand(1, 3, 32, 32))
        >>> first.edge_index.shape, first.alpha.shape
        (torch.Size([2, 384]), torch.Size([384, 1]))
    """
    if not any(has_attention_weights(conv) for conv in find_convs(model).values()):
        raise ValueError(
            f"the convs of this {type(model).__name__} have no attention weights: "
            "build it with conv='cross_attention', or a PyG conv such as 'GATv2Conv'"
        )
    with record_blocks(model, images) as blocks:
        return [_block_attention(block) for block in blocks if has_attention_weights(block.conv)]


def has_attention_weights(conv: nn.Module) -> bool:
    """Whether a conv's ``forward`` takes ``return_attention_weights``, as this package's and PyG's attention do."""
    return "return_attention_weights" in inspect.signature(conv.forward).parameters


def _block_attention(block: RecordedBlock) -> BlockAttention:
    _, (edges, alpha) = block.conv(*block.arguments, return_attention_weights=True)
    alpha = alpha.view(alpha.size(0), -1)
    return BlockAttention(as_edge_index(edges), alpha, block.layout, block.source_layout, block.name)
