"""The official code of the published networks, imported from the user's checkouts and loaded with our weights."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn

from pyg_vig.models.config import HybridConfig, PyramidViGConfig
from pyg_vig.models.official import to_official
from pyg_vig.models.vision_gnn import VisionGNN

CONVS = {"max_relative": "mr", "edge": "edge", "sage": "sage", "gin": "gin"}

# file and constructor of the networks that the official code builds by name
HYBRIDS = {
    **{f"mobilevig_{size}": ("mobilevig", f"mobilevig_{size}") for size in ("ti", "s", "m", "b")},
    **{f"greedyvig_{size}": ("greedyvig", f"GreedyViG_{size.upper()}") for size in ("s", "m", "b")},
}
NETWORKS = ("vig_ti", "vig_s", "vig_b", "pvig_ti", "pvig_s", "pvig_m", "pvig_b", *HYBRIDS)


def build_official(name: str, model: VisionGNN, directories: Sequence[str], size: int = 224) -> nn.Module:
    """Build the official network with the configuration and weights of ours.

    Args:
        name: name of our network.
        model: our network.
        directories: folders that hold ``vig.py``, ``pyramid_vig.py``, ``mobilevig.py`` or ``greedyvig.py``.
        size: side of the images. The position embedding is resized to it, as the official ViG runs at 224 only.

    Raises:
        ValueError: if the folders do not hold the code, or if the code lacks the conv or cannot process such small
            images.
    """
    if isinstance(model.config, HybridConfig):
        return _build_hybrid(name, model, directories)
    if model.config.conv not in CONVS:
        raise ValueError(f"expected a conv of the official code ({', '.join(CONVS)}), got {model.config.conv!r}")
    _check_size(model, size)
    module = "pyramid_vig" if isinstance(model.config, PyramidViGConfig) else "vig"
    with _silenced():
        network = _import_official(module, directories).DeepGCN(_official_options(model.config))
    network.load_state_dict(to_official(model))
    stride = model.feature_info[0]["reduction"]
    if size != model.config.image_size:
        grid = (-(-size // stride),) * 2
        table = F.interpolate(network.pos_embed.detach(), grid, mode="bicubic", align_corners=False)
        network.pos_embed = nn.Parameter(table)
    return network


def _build_hybrid(name: str, model: VisionGNN, directories: Sequence[str]) -> nn.Module:
    if name not in HYBRIDS:
        raise ValueError(f"no official code of {name}: expected one of {', '.join(HYBRIDS)}")
    module, constructor = HYBRIDS[name]
    with _silenced():
        network = getattr(_import_official(module, directories), constructor)()
    network.load_state_dict(to_official(model))
    return network


def _check_size(model: VisionGNN, size: int) -> None:
    """Raise if the graphs are too small: ours lowers the dilation then, the official code selects missing nodes."""
    num_needed = max(block.grapher.graph.k * block.grapher.graph.dilation for block in model.blocks)
    num_nodes = (-(-size // model.feature_info[-1]["reduction"])) ** 2
    if num_nodes < num_needed:
        raise ValueError(
            f"the official network needs {num_needed} neighbours, but its last stage has only {num_nodes} nodes at "
            f"{size} pixels: use larger images or omit --reference"
        )


def _import_official(name: str, directories: Sequence[str]) -> ModuleType:
    directory = next((folder for folder in directories if (Path(folder) / f"{name}.py").is_file()), None)
    if directory is None:
        raise ValueError(f"no {name}.py in {', '.join(directories)}: pass the official code's folder as --reference")
    if not hasattr(np, "float"):  # the official code was written for NumPy before 1.24
        np.__dict__["float"] = float
    sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(directory)


def _official_options(config: Any) -> SimpleNamespace:
    """Return the options object that the official constructors read."""
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
def _silenced() -> Iterator[None]:
    """Silence the official constructors, which print and import from deprecated timm modules."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
