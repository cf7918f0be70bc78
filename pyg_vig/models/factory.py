"""Create networks by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any

from pyg_vig.models.config import HybridConfig, ModelConfig, PyramidViGConfig, ViGConfig, check_option_names
from pyg_vig.models.hybrid import build_hybrid
from pyg_vig.models.pyramid_vig import build_pyramid_vig
from pyg_vig.models.variants import VARIANTS
from pyg_vig.models.vig import build_vig
from pyg_vig.models.vision_gnn import FeatureExtractor, VisionGNN

_BUILDERS: dict[type[ModelConfig], Callable[[Any], VisionGNN]] = {
    ViGConfig: build_vig,
    PyramidViGConfig: build_pyramid_vig,
    HybridConfig: build_hybrid,
}
CONFIG_CLASSES = {config_class.__name__: config_class for config_class in _BUILDERS}  # for checkpoints


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the networks, optionally only those that match a shell pattern.

    Example:
        >>> import pyg_vig
        >>> pyg_vig.list_models("vig_*")
        ['vig_nano', 'vig_ti', 'vig_s', 'vig_b']
    """
    return [name for name in VARIANTS if fnmatch(name, pattern)]


def get_config(name: str, **overrides: Any) -> ModelConfig:
    """Return the configuration of a network, with some fields replaced.

    Raises:
        ValueError: if the name or a field is unknown (the message lists the valid ones), a value is invalid, or an
            override would have no effect.

    Example:
        >>> from pyg_vig.models import get_config
        >>> get_config("vig_ti", num_classes=10).channels
        192
    """
    if name not in VARIANTS:
        close = get_close_matches(name, VARIANTS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"unknown model {name!r}{hint} Available: {', '.join(VARIANTS)}")
    check_option_names(name, VARIANTS[name], overrides)
    config = replace(copy.deepcopy(VARIANTS[name]), **overrides)
    unused = [key for key in ("k", "dilated", "epsilon") if overrides.get(key) and config.graph != "knn"]
    if unused:
        raise ValueError(
            f"only graph='knn' accepts {' and '.join(unused)}, got graph={config.graph!r}: omit the option (options of "
            "other graphs go into graph_kwargs)"
        )
    return config


def build_model(config: ModelConfig) -> VisionGNN:
    """Build the network that a configuration describes.

    Example:
        >>> from pyg_vig.models import ViGConfig, build_model
        >>> build_model(ViGConfig(channels=32, depth=2, image_size=64, patch_size=8)).num_features
        32
    """
    return _BUILDERS[type(config)](config)


def create_model(
    name: str, *, features_only: bool = False, out_indices: int | Sequence[int] | None = None, **overrides: Any
) -> VisionGNN | FeatureExtractor:
    """Build a published network, or a variation of it.

    Args:
        name: one of :func:`list_models`.
        features_only: whether to return the feature maps of the stages instead of logits.
        out_indices: stages to return with ``features_only``, as indices, or as a number of last stages; by default all.
        **overrides: any fields of the network's configuration: ``num_classes``, ``in_channels``, ``conv``, ``graph``,
            ``k``, ``depth`` or ``depths``, ``channels``, ... (see :class:`~pyg_vig.models.ViGConfig`,
            :class:`~pyg_vig.models.PyramidViGConfig` and :class:`~pyg_vig.models.HybridConfig`).

    Returns:
        The network with random weights, in training mode; with ``features_only``, a
        :class:`~pyg_vig.models.FeatureExtractor` around it.

    Raises:
        ValueError: if the name or a field is unknown, or a value does not fit the network.

    Example:
        >>> import pyg_vig, torch
        >>> model = pyg_vig.create_model("vig_nano", conv="GATv2Conv").eval()
        >>> model(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    if out_indices is not None and not features_only:
        raise ValueError("out_indices selects feature maps and requires features_only=True")
    model = build_model(get_config(name, **overrides))
    return FeatureExtractor(model, out_indices) if features_only else model
