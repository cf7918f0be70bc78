"""Small networks of every kind, and their results computed without the explorer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.models import VisionGNN

NETWORKS = {
    "isotropic": ("vig_nano", {"depth": 3}),
    "attention": ("vig_nano", {"depth": 2, "conv": "cross_attention", "conv_kwargs": {"heads": 2}}),
    "pooled": ("pvig_ti", {"depths": (1, 1, 1, 1), "channels": (8, 16, 16, 16), "image_size": 128}),
    "svga": ("mobilevig_ti", {"channels": (8, 8, 8, 16), "depths": ((1, 0), (1, 0), (1, 0), (0, 2))}),
    "dynamic": ("greedyvig_s", {"channels": (8, 16), "depths": ((1, 1), (0, 1)), "steps": (4, 2)}),
}
SIZES = {"isotropic": (32, 48), "attention": (32, 32), "pooled": (128, 128), "svga": (128, 128), "dynamic": (64, 64)}


def network(kind: str) -> VisionGNN:
    """Build a network with random weights, and affinities sharp enough that attention weights differ."""
    name, overrides = NETWORKS[kind]
    model = pyg_vig.create_model(name, num_classes=3, **overrides).eval()
    for parameter_name, parameter in model.named_parameters():
        if "log_beta" in parameter_name:
            nn.init.constant_(parameter, 1.5)
    return model


def make_image(kind: str) -> Tensor:
    return torch.rand(3, *SIZES[kind]) * 2 - 1


def recorded_neighbors(model: nn.Module, image: Tensor) -> list[dict[int, list[int]]]:
    """Return the neighbours of every patch in every block, collected edge by edge without duplicates."""
    with pyg_vig.record_graphs(model) as graphs, torch.no_grad():
        model(image.unsqueeze(0))
    blocks = []
    for edge_index, layout in zip(graphs, graphs.layouts, strict=True):
        neighbors: dict[int, list[int]] = {patch: [] for patch in range(layout.num_nodes)}
        for source, destination in edge_index.T.tolist():
            if source not in neighbors[destination]:
                neighbors[destination].append(source)
        blocks.append(neighbors)
    return blocks
