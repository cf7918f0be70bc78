"""Register all networks with timm, so that its scripts and everything built on timm can use them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_vig.models import build_model, get_config, list_models
from pyg_vig.models.official import convert_state_dict
from pyg_vig.models.vision_gnn import VisionGNN

_ALIASES = {"in_chans": "in_channels", "img_size": "image_size"}  # timm's names, and ours


def register() -> list[str]:
    """Make every network available to ``timm.create_model``; returns their names, like :func:`list_models`.

    ``num_classes``, ``in_chans``, ``img_size``, ``drop_rate``, ``drop_path_rate``, ``features_only``, ``out_indices``
    and all fields of a network's configuration are accepted. ``pretrained=True`` loads the file named by
    ``pretrained_cfg_overlay={"file": PATH}``, a checkpoint in any format of :func:`pyg_vig.load_checkpoint`; no
    weights are hosted. A second call has no effect.

    Raises:
        ValueError: if timm already has another network with one of these names.

    Example:
        >>> import timm, torch
        >>> from pyg_vig.integrations.timm import register
        >>> names = register()
        >>> model = timm.create_model("vig_nano", num_classes=3, features_only=True).eval()
        >>> model.feature_info.channels()
        [32, 32, 32, 32]
        >>> timm.create_model("pvig_ti", num_classes=0, depths=(1, 1, 1, 1)).default_cfg["mean"]
        (0.5, 0.5, 0.5)
    """
    from timm.models import is_model, model_entrypoint, register_model

    module = sys.modules[__name__]
    names = list_models()
    for name in names:
        if is_model(name):
            if model_entrypoint(name).__module__ != __name__:
                raise ValueError(f"timm already has another network named {name!r}: use a version of timm without it")
            continue
        default_cfgs[name] = _pretrained_cfg(name)
        register_model(_entrypoint(name))
    vars(module).pop("__all__", None)  # to which timm adds its networks
    return names


default_cfgs: dict[str, Any] = {}  # timm's decorator looks for this name


class DistilledVisionGNN(VisionGNN):
    """A network with two classifiers that returns their mean in training too, unless distillation is enabled.

    timm's scripts expect one tensor. This class is never built directly: networks with two classifiers are converted to
    it when they are created through timm.
    """

    distilled_training = False

    def set_distilled_training(self, enable: bool = True) -> None:
        """Set whether training returns the outputs of both classifiers (timm's method)."""
        self.distilled_training = enable

    def forward(self, images: Tensor | Data) -> Tensor | tuple[Tensor, Tensor]:
        """Return the scores of every image."""
        scores = super().forward(images)
        if isinstance(scores, tuple) and not self.distilled_training:
            return (scores[0] + scores[1]) / 2
        return scores


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        from timm.models import build_model_with_cfg

        if options.get("features_only"):
            options = {"feature_cls": "getter", "out_indices": None} | options
        return build_model_with_cfg(
            _build_variant(name),
            name,
            pretrained,
            pretrained_filter_fn=convert_state_dict,
            kwargs_filter=("img_size",),
            **options,
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"``{name}`` of pyg_vig."
    return build


def _build_variant(name: str) -> Callable[..., VisionGNN]:
    """Return a constructor of the network that takes timm's names of the options."""

    def build(**options: Any) -> VisionGNN:
        options = {_ALIASES.get(key, key): value for key, value in options.items() if value is not None}
        if (pool := options.pop("global_pool", "avg")) != "avg":
            raise ValueError(f"{name} supports only global_pool='avg', the mean over the nodes, got {pool!r}")
        model = build_model(get_config(name, **options))
        if model.config.distilled:
            model.__class__ = DistilledVisionGNN
        return model

    return build


def _pretrained_cfg(name: str) -> dict[str, Any]:
    config = get_config(name)
    side = config.image_size
    return {
        "num_classes": config.num_classes,
        "input_size": (config.in_channels, side, side),
        "pool_size": None,
        "crop_pct": config.crop,
        "interpolation": "bicubic",
        "mean": config.mean,
        "std": config.std,
        "classifier": ("head.classifier", "head.distillation_classifier") if config.distilled else "head.classifier",
        "first_conv": "stem.convs.0.conv",
        "license": "apache-2.0",
    }


def run_script(args: Sequence[str]) -> None:
    """Run one of timm's scripts with this package's networks in its registry.

    Args:
        args: path of the script, such as timm's ``train.py`` or ``validate.py``, and its options.

    Raises:
        ValueError: if no script is given.
    """
    if not args:
        raise ValueError("expected a script: python -m pyg_vig.integrations.timm train.py --model pvig_ti ...")
    register()
    sys.argv = list(args)
    sys.path.insert(0, str(Path(args[0]).resolve().parent))
    runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    from pyg_vig.integrations import timm as this  # not this __main__ copy, whose networks timm does not know

    this.run_script(sys.argv[1:])
