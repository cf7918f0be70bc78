"""The published networks, as data (sizes of the official code; arXiv 2206.00272, tables 1 and 2)."""

from __future__ import annotations

from pyg_vig.models.config import ModelConfig, PyramidViGConfig, ViGConfig

VARIANTS: dict[str, ModelConfig] = {
    "vig_nano": ViGConfig(  # ours, for images of 32 pixels such as the digits of the demo
        channels=32, depth=6, image_size=32, patch_size=4, k=6, head_channels=256, num_classes=10
    ),
    "vig_ti": ViGConfig(channels=192, depth=12),
    "vig_s": ViGConfig(channels=320, depth=16),
    "vig_b": ViGConfig(channels=640, depth=16),
    "pvig_ti": PyramidViGConfig(channels=(48, 96, 240, 384), depths=(2, 2, 6, 2)),
    "pvig_s": PyramidViGConfig(channels=(80, 160, 400, 640), depths=(2, 2, 6, 2)),
    "pvig_m": PyramidViGConfig(channels=(96, 192, 384, 768), depths=(2, 2, 16, 2)),
    "pvig_b": PyramidViGConfig(channels=(128, 256, 512, 1024), depths=(2, 2, 18, 2)),
}
