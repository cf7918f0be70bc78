"""Isotropic ViG (`"Vision GNN" <https://arxiv.org/abs/2206.00272>`_)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pyg_vig.models.config import ModelConfig, ViGConfig
from pyg_vig.models.depth_schedule import dilations, linspace, neighbor_counts
from pyg_vig.models.position import AbsolutePosition
from pyg_vig.models.stem import ConvStem, PatchStem
from pyg_vig.models.vision_gnn import Stage, VisionGNN
from pyg_vig.nn import ViGBlock

_NUM_STAGES = 4  # their outputs are the feature maps for dense tasks


def build_vig(config: ViGConfig) -> VisionGNN:
    """Build an isotropic network, whose blocks all have the same width and grid."""
    grid_size = -(-config.image_size // config.patch_size)
    k = neighbor_counts(config.k, config.depth, growth=2)
    dilation = dilations(k, grid_size**2, config.dilated)
    drop_path = linspace(0, config.drop_path_rate, config.depth)
    options = block_options(config)
    blocks = [
        ViGBlock(
            config.channels, k=k[i], dilation=dilation[i], drop_path=drop_path[i], edge_dim=config.edge_dim, **options
        )
        for i in range(config.depth)
    ]
    num_stages = min(_NUM_STAGES, config.depth)
    bounds = [config.depth * i // num_stages for i in range(num_stages + 1)]
    stages = [Stage(blocks[start:stop], config.channels, config.patch_size) for start, stop in pairwise(bounds)]
    position = AbsolutePosition(config.channels, grid_size, grid_size) if config.position else None
    return VisionGNN(config, _stem(config), stages, position)


def block_options(config: ModelConfig) -> dict[str, Any]:
    """Return the options that are the same for all blocks."""
    return {
        "conv": config.conv,
        "conv_kwargs": dict(config.conv_kwargs),
        "graph": config.graph,
        "graph_kwargs": dict(config.graph_kwargs),
        "epsilon": config.epsilon,
        "heads": config.heads,
        "norm": config.norm,
        "act": config.act,
        "bias": config.bias,
        "fc": config.grapher_fc,
        "ffn": config.ffn,
    }


def _stem(config: ViGConfig) -> ConvStem | PatchStem:
    if config.stem == "patch":
        return PatchStem(config.in_channels, config.channels, config.patch_size, config.edge_dim)
    return ConvStem(config.in_channels, config.channels, config.patch_size, config.act)
