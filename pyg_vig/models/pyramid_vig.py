"""Pyramid ViG (`"Vision GNN" <https://arxiv.org/abs/2206.00272>`_)."""

from __future__ import annotations

from pyg_vig.models.config import HybridConfig, PyramidViGConfig
from pyg_vig.models.depth_schedule import dilations, linspace, neighbor_counts
from pyg_vig.models.position import AbsolutePosition, RelativePosition
from pyg_vig.models.stem import ConvStem
from pyg_vig.models.vig import block_options
from pyg_vig.models.vision_gnn import Stage, VisionGNN
from pyg_vig.nn import Downsample, ViGBlock


def build_pyramid_vig(config: PyramidViGConfig) -> VisionGNN:
    """Build a pyramid network, in which each stage halves the grid of the previous one."""
    depth, sizes = sum(config.depths), grid_sizes(config)
    k = neighbor_counts(config.k, depth, growth=1)
    dilation = dilations(k, sizes[-1] ** 2, config.dilated)
    drop_path = linspace(0, config.drop_path_rate, depth)
    stages: list[Stage] = []
    first = 0
    for i, (channels, reduction) in enumerate(zip(config.channels, config.reductions, strict=True)):
        blocks = [
            ViGBlock(
                channels,
                k=k[j],
                dilation=dilation[j],
                drop_path=drop_path[j],
                reduction=reduction,
                position=RelativePosition(channels, sizes[i], reduction) if config.position else None,
                **block_options(config),
            )
            for j in range(first, first + config.depths[i])
        ]
        first += config.depths[i]
        downsample = Downsample(config.channels[i - 1], channels) if i else None
        stages.append(Stage(blocks, channels, config.patch_size * 2**i, downsample))
    stem = ConvStem(config.in_channels, config.channels[0], config.patch_size, config.act)
    position = AbsolutePosition(config.channels[0], sizes[0], sizes[0]) if config.position else None
    return VisionGNN(config, stem, stages, position)


def grid_sizes(config: PyramidViGConfig | HybridConfig) -> list[int]:
    """Return the side of the grid in each stage, in patches; every convolution of stride 2 rounds up."""
    return [-(-config.image_size // (config.patch_size * 2**i)) for i in range(len(config.channels))]
