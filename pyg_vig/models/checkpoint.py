"""Reading and writing weights: the official files, mmpretrain's, and our own."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyg_vig.models import config as configs
from pyg_vig.models.factory import build_model
from pyg_vig.models.official import from_official, layout_of, mmpretrain_to_official
from pyg_vig.models.vision_gnn import VisionGNN

_WRAPPERS_EMA = ("state_dict_ema", "model_ema", "ema_state_dict")
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_HEAD = ("head.classifier.", "head.distillation_classifier.")


class LoadReport(NamedTuple):
    """What :func:`load_checkpoint` found.

    Attributes:
        layout: who wrote the file: ``"official"``, ``"mmpretrain"`` or ``"pyg_vig"``.
        reset: keys that were drawn anew because the file's classifier has another size.
    """

    layout: str
    reset: list[str]


def load_checkpoint(
    model: VisionGNN, path: str | os.PathLike[str], *, use_ema: bool = True, reset_head: bool = False
) -> LoadReport:
    """Load weights into a network, without executing code from the file.

    Reads official ViG and Pyramid ViG files (plain or wrapped in ``state_dict``, with an EMA copy, with a ``module.``
    prefix), mmpretrain's, and ours (``.safetensors``). Nothing is changed unless everything fits.

    Args:
        model: the network, built with the file's configuration.
        path: the file.
        use_ema: prefer the EMA copy of the weights, where the file has one.
        reset_head: accept a classifier of another size and start from a new one.

    Raises:
        ValueError: if keys are missing or unknown, or shapes differ; the message names them.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import pyg_vig, tempfile
        >>> model = pyg_vig.create_model("vig_nano")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(model, f"{folder}/model.safetensors")
        ...     pyg_vig.load_checkpoint(model, f"{folder}/model.safetensors")
        LoadReport(layout='pyg_vig', reset=[])
    """
    state = read_state(path, use_ema=use_ema)
    layout = layout_of(state)
    if layout == "mmpretrain":
        state = mmpretrain_to_official(state)
    if layout != "pyg_vig":
        state = from_official(state, model)
    own = model.state_dict()
    reset = _resized_head(state, own)
    if reset and not reset_head:
        sizes = ", ".join(f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in reset)
        raise ValueError(
            f"{path}: the classifier has another size ({sizes}). Build the network with num_classes="
            f"{state[reset[0]].size(0)}, or pass reset_head=True to start from a new classifier"
        )
    state = {key: value for key, value in state.items() if key not in reset}
    _check(path, state, own, set(reset))
    model.load_state_dict(state, strict=False)
    return LoadReport(layout, reset)


def save_checkpoint(model: VisionGNN, path: str | os.PathLike[str]) -> None:
    """Write weights and configuration to one ``.safetensors`` file, atomically.

    Args:
        model: a network from :func:`pyg_vig.create_model`, not fused.
        path: where to; the folder must exist.

    Raises:
        ValueError: for a network whose weights no longer match its configuration (a fused one, for instance).

    Example:
        >>> import pyg_vig, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano"), f"{folder}/model.safetensors")
    """
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()) is False:
        raise ValueError("this network is fused, so its weights fit no other: save the one that it was fused from")
    metadata = {"format": "pyg_vig", "config": json.dumps(_config_to_json(model))}
    write_atomically(path, save(state, metadata))


def load_model(path: str | os.PathLike[str], **overrides: Any) -> VisionGNN:
    """Rebuild a network from a file of :func:`save_checkpoint` alone.

    Args:
        path: the file.
        **overrides: fields of the configuration to replace, for instance a ``conv`` of your own, which a file can only
            name.

    Raises:
        ValueError: if the file holds no configuration, or names a conv that is not in a library.

    Example:
        >>> import pyg_vig, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", conv="edge"), f"{folder}/model.safetensors")
        ...     pyg_vig.load_model(f"{folder}/model.safetensors").config.conv
        'edge'
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if "config" not in metadata:
        raise ValueError(f"{path} holds no configuration: create_model(...), then load_checkpoint(model, path)")
    model = build_model(_config_from_json(json.loads(metadata["config"]), overrides))
    load_checkpoint(model, path)
    return model


def read_state(path: str | os.PathLike[str], *, use_ema: bool = True) -> dict[str, Tensor]:
    """The tensors of a checkpoint under their own names, unwrapped and without prefixes."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with torch.serialization.safe_globals([argparse.Namespace]):  # timm's training script puts one beside the weights
        content = torch.load(path, map_location="cpu", weights_only=True)
    for key in (*_WRAPPERS_EMA, *_WRAPPERS) if use_ema else _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state_dict: expected a dictionary of tensors, plain or under 'state_dict'")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in content):
            content = {key[len(prefix) :]: value for key, value in content.items()}
    return content


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any time there is the old one or the new one, never a part."""
    path = Path(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _resized_head(state: dict[str, Tensor], own: dict[str, Tensor]) -> list[str]:
    return [key for key in state if key.startswith(_HEAD) and key in own and state[key].shape[:1] != own[key].shape[:1]]


def _check(path: Any, state: dict[str, Tensor], own: dict[str, Tensor], absent: set[str]) -> None:
    """Every key there, none unknown, all shapes equal. Fixed position tables may be left out: they are computed."""
    optional = {key for key in own if key.endswith((".position.table", "num_batches_tracked"))} | absent
    missing = [key for key in own if key not in state and key not in optional]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    problems = [
        f"{len(found)} {what}: {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise ValueError(f"{path} does not fit this network. Keys {'; '.join(problems)}")


def _config_to_json(model: VisionGNN) -> dict[str, Any]:
    values = asdict(model.config) | {"num_classes": model.num_classes}
    for key in ("conv", "graph"):
        if not isinstance(values[key], str):
            values[key] = {"custom": getattr(values[key], "__name__", type(values[key]).__name__)}
    return {"class": type(model.config).__name__, **values}


def _config_from_json(values: dict[str, Any], overrides: dict[str, Any]) -> configs.ModelConfig:
    name = values.pop("class")
    kind = getattr(configs, name, None)
    if kind is None:
        raise ValueError(f"the file holds a {name}: open detectors and segmenters with pyg_vig.tasks.load_model")
    values = values | overrides
    for key in ("conv", "graph"):
        if isinstance(values[key], dict):
            custom = values[key]["custom"]
            raise ValueError(
                f"the network was built with {key}={custom} of its author: pass it, load_model(path, {key}=...)"
            )
    return kind(**values)
