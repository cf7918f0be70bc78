"""The official code of ViG and Pyramid ViG, from a checkout given by the user, with our weights in it."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn

from pyg_vig.models.config import PyramidViGConfig
from pyg_vig.models.official import to_official
from pyg_vig.models.vision_gnn import VisionGNN

CONVS = {"max_relative": "mr", "edge": "edge", "sage": "sage", "gin": "gin"}


def build_official(model: VisionGNN, directory: str, size: int = 224) -> nn.Module:
    """The official network of the same configuration and weights.

    Args:
        model: ours.
        directory: the folder that holds ``vig.py`` and ``pyramid_vig.py``.
        size: side of the images; the official code runs at 224 only until its position embedding is resized.

    Raises:
        ValueError: if the folder does not hold the code, or the code has no such conv or cannot take such small images.
    """
    if model.config.conv not in CONVS:
        raise ValueError(f"the official code has no conv {model.config.conv!r}: it has {', '.join(CONVS)}")
    _check_size(model, size)
    module = "pyramid_vig" if isinstance(model.config, PyramidViGConfig) else "vig"
    with _silence():
        network = _import(module, directory).DeepGCN(_options(model.config))
    network.load_state_dict(to_official(model))
    stride = model.feature_info[0]["reduction"]
    if size != model.config.image_size:
        grid = (-(-size // stride),) * 2
        table = F.interpolate(network.pos_embed.detach(), grid, mode="bicubic", align_corners=False)
        network.pos_embed = nn.Parameter(table)
    return network


def _check_size(model: VisionGNN, size: int) -> None:
    """Ours lowers the dilation in small graphs; the official code asks for nodes that are not there."""
    needed = max(block.grapher.graph.k * block.grapher.graph.dilation for block in model.blocks)
    nodes = (-(-size // model.feature_info[-1]["reduction"])) ** 2
    if nodes < needed:
        raise ValueError(
            f"the official network searches {needed} neighbours among the {nodes} nodes of its last stage at {size} "
            f"pixels: use larger images, or leave --reference out"
        )


def _import(name: str, directory: str) -> ModuleType:
    if not (Path(directory) / f"{name}.py").is_file():
        raise ValueError(f"--reference {directory}: no {name}.py there; give the official code's folder vig_pytorch")
    if not hasattr(np, "float"):  # the official code was written for a numpy that had it
        np.__dict__["float"] = float
    sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(directory)


def _options(config: Any) -> SimpleNamespace:
    """The options object that the official constructors read."""
    options = SimpleNamespace(
        k=config.k,
        conv=CONVS[config.conv],
        act=config.act,
        norm=config.norm,
        bias=config.bias,
        n_classes=config.num_classes,
        dropout=config.drop_rate,
        drop_path=config.drop_path_rate,
        use_dilation=config.dilated,
        use_stochastic=config.epsilon > 0,
        epsilon=config.epsilon,
        emb_dims=config.head_channels,
    )
    if isinstance(config, PyramidViGConfig):
        options.blocks, options.channels = list(config.depths), list(config.channels)
    else:
        options.n_blocks, options.n_filters = config.depth, config.channels
    return options


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The official constructors print; timm warns that they import from its old places."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
