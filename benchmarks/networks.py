"""Networks to compare ours with: the official code and networks of timm."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

import pyg_vig
from benchmarks.case import Case
from benchmarks.reference import build_official
from pyg_vig.benchmark import networks

OFFICIAL = "official"

# networks of timm with about as many multiply-adds (G, at 224)
TIMM = {
    "vig_ti": ("deit_tiny_patch16_224", "resnet18"),  # 1.3 | 1.3, 1.8
    "pvig_ti": ("deit_tiny_patch16_224", "resnet18"),  # 1.7
    "vig_s": ("deit_small_patch16_224", "resnet50"),  # 4.5 | 4.6, 4.1
    "pvig_s": ("deit_small_patch16_224", "resnet50"),  # 4.6
    "pvig_m": ("resnet101",),  # 8.9 | 7.8
    "vig_b": ("deit_base_patch16_224",),  # 17.7 | 17.6
    "pvig_b": ("deit_base_patch16_224",),  # 16.8
    "mobilevig_m": ("deit_tiny_patch16_224", "resnet18"),  # 1.5
    "mobilevig_b": ("resnet34",),  # 2.8 | 3.7
    "greedyvig_s": ("deit_tiny_patch16_224", "resnet18"),  # 1.6
    "greedyvig_m": ("resnet34",),  # 3.1
    "greedyvig_b": ("deit_small_patch16_224", "resnet50"),  # 5.1
    "attention_vig_s": ("deit_tiny_patch16_224", "resnet18"),  # 1.6
    "attention_vig_m": ("resnet34",),  # 3.2
    "attention_vig_b": ("deit_small_patch16_224", "resnet50"),  # 4.8
}


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """Build a subject on its device and in its mode, with random weights, the same for our and the official network."""
    if subject == OFFICIAL:
        return networks.prepare(_official(case), case, training)
    if subject in sum(TIMM.values(), ()):
        return networks.prepare(_timm(case, subject), case, training)
    return networks.build(case, subject, training)


def _official(case: Case) -> nn.Module:
    if not case.reference:
        raise ValueError("the official network needs the official code: pass its folder with --reference DIR")
    torch.manual_seed(0)
    overrides = {} if case.conv is None else {"conv": case.conv}
    return build_official(case.model, pyg_vig.create_model(case.model, **overrides), case.reference, case.size)


def _timm(case: Case, name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    options = {"img_size": case.size} if name.startswith("deit") else {}
    return timm.create_model(name, **options)


def graphers(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield graph builder and conv of every block, in our network or the official one."""
    yield from networks.block_parts(network)
    for module in network.modules():
        if hasattr(module, "dilated_knn_graph"):
            yield module.dilated_knn_graph, module.gconv
