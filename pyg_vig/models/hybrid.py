"""Hybrids of convolutions and graphs: the structure shared by MobileViG, GreedyViG and AttentionViG."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyg_vig.models.config import HybridConfig
from pyg_vig.models.depth_schedule import dilations, linspace, neighbor_counts
from pyg_vig.models.pyramid_vig import grid_sizes
from pyg_vig.models.stem import ConvStem
from pyg_vig.models.vig import block_options
from pyg_vig.models.vision_gnn import Stage, VisionGNN
from pyg_vig.nn import Downsample, InvertedResidual, ViGBlock


def build_hybrid(config: HybridConfig) -> VisionGNN:
    """Build a pyramid whose stages consist of inverted residuals followed by graph blocks."""
    depth = sum(map(sum, config.depths))
    drop_path = linspace(0, config.drop_path_rate, depth)
    k = neighbor_counts(config.k, depth, growth=1)
    dilation = dilations(k, grid_sizes(config)[-1] ** 2, config.dilated)
    stages: list[Stage] = []
    first = 0
    for i, (channels, (num_local, num_graph)) in enumerate(zip(config.channels, config.depths, strict=True)):
        blocks: list[nn.Module] = [
            InvertedResidual(channels, act=config.act, drop_path=rate) for rate in drop_path[first : first + num_local]
        ]
        first += num_local
        for j in range(first, first + num_graph):
            options = _graph_options(config, i)
            blocks.append(ViGBlock(channels, k=k[j], dilation=dilation[j], drop_path=drop_path[j], **options))
        first += num_graph
        downsample = Downsample(config.channels[i - 1], channels) if i else None
        stages.append(Stage(blocks, channels, config.patch_size * 2**i, downsample))
    stem = ConvStem(config.in_channels, config.channels[0], config.patch_size, config.act, refine=False)
    return VisionGNN(config, stem, stages)


def _graph_options(config: HybridConfig, stage: int) -> dict[str, Any]:
    options = block_options(config)
    if config.graph in ("svga", "dagc"):
        loop = {"loop": config.loop} if config.graph == "svga" else {}
        options["graph_kwargs"] = {"step": config.steps[stage]} | loop | options["graph_kwargs"]
    return options | {
        "expansion": config.expansion,
        "position_kernel": config.position_kernel,
        "layer_scale": config.layer_scale,
    }
