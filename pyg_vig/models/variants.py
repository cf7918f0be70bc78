"""Configurations of the published networks (sizes from the official code; ViG: arXiv 2206.00272, tables 1 and 2)."""

from __future__ import annotations

from typing import Any

from pyg_vig.models.config import HybridConfig, ModelConfig, PyramidViGConfig, ViGConfig


def _mobilevig(channels: tuple[int, ...], depths: tuple[int, ...], head_channels: int) -> HybridConfig:
    """Graph blocks only in the last stage, connecting every second patch."""
    pairs = [(depth, 0) for depth in depths[:-1]] + [(0, depths[-1])]
    conv = "reverse_max_relative"
    return HybridConfig(channels=channels, depths=pairs, steps=(2, 2, 2, 2), conv=conv, head_channels=head_channels)


def _greedyvig(channels: tuple[int, ...], depths: tuple[tuple[int, int], ...], **options: Any) -> HybridConfig:
    """Graph blocks in every stage, each with a conditional position encoding before its graph conv."""
    shared: dict[str, Any] = {
        "steps": (8, 4, 2, 1),
        "expansion": 1,
        "position_kernel": 7,
        "layer_scale": 1e-5,
        "head_channels": 768,
    }
    return HybridConfig(channels=channels, depths=depths, **shared | {"graph": "dagc"} | options)


def _attention_vig(channels: tuple[int, ...], depths: tuple[tuple[int, int], ...]) -> HybridConfig:
    """GreedyViG's structure with fixed SVGA graphs and cross-attention, without linear layers around the conv."""
    options: dict[str, Any] = {"graph": "svga", "loop": False, "conv": "cross_attention", "grapher_fc": False}
    return _greedyvig(channels, depths, **options)


VARIANTS: dict[str, ModelConfig] = {
    "vig_nano": ViGConfig(  # ours, for 32-pixel images such as the digits of the demo
        channels=32,
        depth=6,
        image_size=32,
        patch_size=4,
        k=6,
        dilated=False,
        head_channels=256,
        num_classes=10,
        crop=1.0,
    ),
    "vig_ti": ViGConfig(channels=192, depth=12),
    "vig_s": ViGConfig(channels=320, depth=16),
    "vig_b": ViGConfig(channels=640, depth=16),
    "pvig_ti": PyramidViGConfig(channels=(48, 96, 240, 384), depths=(2, 2, 6, 2)),
    "pvig_s": PyramidViGConfig(channels=(80, 160, 400, 640), depths=(2, 2, 6, 2)),
    "pvig_m": PyramidViGConfig(channels=(96, 192, 384, 768), depths=(2, 2, 16, 2)),
    "pvig_b": PyramidViGConfig(channels=(128, 256, 512, 1024), depths=(2, 2, 18, 2), crop=0.95),
    # MobileViG (arXiv 2307.00395) and GreedyViG (arXiv 2405.06849), sizes of the official code
    "mobilevig_ti": _mobilevig((42, 84, 168, 256), (2, 2, 6, 2), 512),
    "mobilevig_s": _mobilevig((42, 84, 176, 256), (3, 3, 9, 3), 512),
    "mobilevig_m": _mobilevig((42, 84, 224, 400), (3, 3, 9, 3), 768),
    "mobilevig_b": _mobilevig((42, 84, 240, 464), (5, 5, 15, 5), 768),
    "greedyvig_s": _greedyvig((48, 96, 192, 384), ((2, 2), (2, 2), (6, 2), (2, 2))),
    "greedyvig_m": _greedyvig((56, 112, 224, 448), ((3, 3), (3, 3), (9, 3), (3, 3))),
    "greedyvig_b": _greedyvig((64, 128, 256, 512), ((4, 4), (4, 4), (12, 4), (3, 3))),
    # AttentionViG (arXiv 2509.25570): the authors' sizes are not public; ours are chosen to match the FLOPs.
    "attention_vig_s": _attention_vig((48, 96, 192, 384), ((2, 2), (2, 2), (5, 2), (2, 2))),
    "attention_vig_m": _attention_vig((56, 112, 224, 448), ((3, 3), (3, 3), (8, 3), (3, 3))),
    "attention_vig_b": _attention_vig((56, 112, 224, 448), ((5, 5), (5, 5), (14, 5), (3, 3))),
}
