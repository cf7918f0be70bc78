"""A small network of every family, for tests that compile and export."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import pyg_vig
from pyg_vig.models import VisionGNN
from pyg_vig.nn import LayerScale

_VIG: dict[str, Any] = {"depth": 1, "channels": 16, "k": 4, "head_channels": 16}
_FIXED = {name: value for name, value in _VIG.items() if name != "k"}
_PYRAMID: dict[str, Any] = {"channels": (8, 16), "depths": (1, 1), "reductions": (2, 1), "k": 4, "head_channels": 16}
_HYBRID: dict[str, Any] = {"channels": (8, 16), "depths": ((1, 1), (0, 1)), "steps": (4, 2), "head_channels": 16}

# test id: network name, options
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vig": ("vig_nano", _VIG),
    "pyramid": ("pvig_ti", _PYRAMID),
    "mobilevig": ("mobilevig_ti", _HYBRID),
    "greedyvig": ("greedyvig_s", _HYBRID),
    "attention_vig": ("attention_vig_s", _HYBRID),
    **{conv: ("vig_nano", _VIG | {"conv": conv}) for conv in ("edge", "sage", "gin", "cross_attention", "GATv2Conv")},
    **{graph: ("vig_nano", _FIXED | {"graph": graph}) for graph in ("svga", "dagc", "grid")},
    "patch": ("vig_nano", _VIG | {"stem": "patch"}),
}
SIZE = 32


def small_network(family: str) -> VisionGNN:
    """Build an untrained network whose norms and layer scales are not trivial."""
    name, options = FAMILIES[family]
    torch.manual_seed(0)
    model = pyg_vig.create_model(name, image_size=SIZE, num_classes=10, **options)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, LayerScale):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()
