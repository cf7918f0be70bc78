"""Read checkpoints of the official code, mmpretrain and this package, and write our own."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from pyg_vig.models.config import ModelConfig, check_option_names
from pyg_vig.models.factory import CONFIG_CLASSES, build_model
from pyg_vig.models.file_format import (
    read_config,
    read_weights,
    strip_prefixes,
    unwrap_model,
    weights_file,
    write_network,
)
from pyg_vig.models.official import convert_state_dict, detect_format
from pyg_vig.models.position import AbsolutePosition, RelativePosition, resize_position_embedding
from pyg_vig.models.vision_gnn import VisionGNN

_EMA_STATE_DICT_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict")
_STATE_DICT_KEYS = ("state_dict", "model", "model_state_dict")
_CLASSIFIERS = ("head.classifier.", "head.distillation_classifier.")


class LoadReport(NamedTuple):
    """Result of :func:`load_checkpoint`.

    Attributes:
        layout: format of the file: ``"official"``, ``"mmpretrain"`` or ``"pyg_vig"``.
        reset: keys of the network that were not loaded, because the classifier in the file is missing or has another
            size.
    """

    layout: str
    reset: list[str]


def load_checkpoint(
    model: VisionGNN, path: str | os.PathLike[str], *, use_ema: bool = True, reset_head: bool = False
) -> LoadReport:
    """Load weights into a network, without executing code from the file.

    Reads files of the official code (plain or wrapped in ``state_dict``, with an EMA copy, with the prefixes of
    ``torch.compile`` and data parallelism), of mmpretrain, and of pyg_vig (``.safetensors``). If any weight does not
    fit, the network stays unchanged. Absolute positions for another image size are resized (bicubic).

    Args:
        model: the network, built with the configuration of the file; the image size may differ.
        path: the file, or the folder of a run.
        use_ema: prefer the EMA copy of the weights, if the file has one.
        reset_head: if the classifiers of file and network differ in size, or only one of the two has a classifier,
            keep the network's own instead of raising an error.

    Returns:
        The format of the file, and the keys of the network that were not loaded.

    Raises:
        ValueError: if keys are missing or unknown, shapes differ (the message names them), or the file contains no
            state dict.
        FileNotFoundError: if the file does not exist.

    Example:
        >>> import pyg_vig, tempfile
        >>> model = pyg_vig.create_model("vig_nano")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(model, f"{folder}/model.safetensors")
        ...     pyg_vig.load_checkpoint(model, f"{folder}/model.safetensors")
        LoadReport(layout='pyg_vig', reset=[])
    """
    model = cast("VisionGNN", unwrap_model(model))
    state = read_state_dict(path, use_ema=use_ema)
    layout = detect_format(state)
    state = convert_state_dict(state, model)
    model_state = model.state_dict()
    mismatched = _mismatched_classifiers(state, model_state)
    if mismatched and not reset_head:
        sizes = ", ".join(
            f"{name}weight has {_num_classes(state, name)} rows in the file and {_num_classes(model_state, name)} here"
            for name in mismatched
        )
        raise ValueError(
            f"{path}: the size of the classifier differs ({sizes}). Build the network with num_classes="
            f"{_num_classes(state, _CLASSIFIERS[0])}{_distilled_hint(state, model_state)}, or pass reset_head=True to "
            "keep the network's own classifier"
        )
    state = {key: value for key, value in state.items() if not key.startswith(mismatched)}
    reset = [key for key in model_state if key.startswith(mismatched)]
    _resize_positions(model, state)
    _check_keys(path, state, model_state, set(reset))
    model.load_state_dict(state, strict=False)
    return LoadReport(layout, reset)


def _resize_positions(model: VisionGNN, state: dict[str, Tensor]) -> None:
    """Resize positions learned for another image size to the network's, and drop fixed ones, which it computes."""
    for name, module in model.named_modules():
        table = state.get(f"{name}.weight")
        if isinstance(module, AbsolutePosition) and table is not None and table.dim() == 4:
            _, height, width, _ = module.weight.shape
            state[f"{name}.weight"] = resize_position_embedding(table, (height, width))
        relative = state.get(f"{name}.table")
        if isinstance(module, RelativePosition) and relative is not None and relative.shape != module.table.shape:
            del state[f"{name}.table"]


def save_checkpoint(model: VisionGNN, path: str | os.PathLike[str]) -> None:
    """Write weights and configuration to one ``.safetensors`` file, atomically.

    Args:
        model: a network from :func:`pyg_vig.create_model`, not fused; wrappers of ``torch.compile`` and data
            parallelism are removed.
        path: the file to write; its folder must exist.

    Raises:
        ValueError: if the network is fused, or its configuration cannot be serialised.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import pyg_vig, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano"), f"{folder}/model.safetensors")
    """
    model = cast("VisionGNN", unwrap_model(model))
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ValueError("a fused network cannot be saved: save the network that it was fused from")
    write_network(path, model, model.config)


def load_model(path: str | os.PathLike[str], **overrides: Any) -> VisionGNN:
    """Rebuild a network from a file written by :func:`save_checkpoint`.

    Args:
        path: the file, or a folder that contains it as ``model.safetensors``.
        **overrides: configuration fields to replace, for instance a custom ``conv``, of which the file stores only the
            name.

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file contains no configuration, a custom conv or graph is not passed, or a field is unknown.

    Example:
        >>> import pyg_vig, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", conv="edge"), f"{folder}/model.safetensors")
        ...     pyg_vig.load_model(f"{folder}/model.safetensors").config.conv
        'edge'
    """
    path = weights_file(path)
    model = build_model(_config_from_json(read_config(path), overrides))
    load_checkpoint(model, path)
    return model.eval()


def read_state_dict(path: str | os.PathLike[str], *, use_ema: bool = True) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint, without wrapping dictionaries and name prefixes.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file contains no state dict.
    """
    path = weights_file(path)
    if path.suffix == ".safetensors":
        return read_weights(path)
    content = _load_pickle(path)
    for key in (*_EMA_STATE_DICT_KEYS, *_STATE_DICT_KEYS) if use_ema else _STATE_DICT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(
            f"{path} contains no state_dict: expected a dictionary of tensors, plain or under 'state_dict'"
        )
    return strip_prefixes(content)


def _load_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm's training script stores one
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(
            f"{path} cannot be read: expected a .safetensors file (with that suffix) or a file of torch.save with only "
            f"tensors ({type(error).__name__}: {error})"
        ) from error


def _num_classes(state: dict[str, Tensor], name: str) -> int:
    """Return the width of a classifier; 0 if there is none."""
    weight = state.get(f"{name}weight")
    return 0 if weight is None else len(weight)


def _mismatched_classifiers(state: dict[str, Tensor], model_state: dict[str, Tensor]) -> tuple[str, ...]:
    return tuple(name for name in _CLASSIFIERS if _num_classes(state, name) != _num_classes(model_state, name))


def _distilled_hint(state: dict[str, Tensor], model_state: dict[str, Tensor]) -> str:
    """Return the hint for the error message if only one side has a second classifier."""
    in_file, in_model = (bool(_num_classes(entries, _CLASSIFIERS[1])) for entries in (state, model_state))
    both_classify = _num_classes(state, _CLASSIFIERS[0]) and _num_classes(model_state, _CLASSIFIERS[0])
    return f" and distilled={in_file}" if both_classify and in_file != in_model else ""


def _check_keys(path: Any, state: dict[str, Tensor], model_state: dict[str, Tensor], reset: set[str]) -> None:
    """Check that all keys and shapes match. Fixed position tables may be missing, as the network computes them."""
    optional = {key for key in model_state if key.endswith((".position.table", "num_batches_tracked"))} | reset
    missing = [key for key in model_state if key not in state and key not in optional]
    unexpected = [key for key in state if key not in model_state]
    mismatched = [
        f"{key} with {tuple(value.shape)} instead of {tuple(model_state[key].shape)}"
        for key, value in state.items()
        if key in model_state and value.shape != model_state[key].shape
    ]
    problems = [
        f"{len(keys)} {problem}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for problem, keys in (("missing", missing), ("unexpected", unexpected), ("of a different shape", mismatched))
        if keys
    ]
    if problems:
        raise ValueError(
            f"{path} does not match this network. Keys: {'; '.join(problems)}. Build the network with the options that "
            "the file was made with"
        )


def _config_from_json(values: dict[str, Any], overrides: dict[str, Any]) -> ModelConfig:
    name = values.pop("class")
    if name not in CONFIG_CLASSES:
        raise ValueError(f"the file contains a {name}: load detectors and segmenters with pyg_vig.tasks.load_model")
    values = values | overrides
    for key in ("conv", "graph"):
        if isinstance(values.get(key), dict):
            custom = values[key]["custom"]
            raise ValueError(
                f"the network was built with a custom {key}, {custom}, which the file cannot contain: pass it with "
                f"load_model(path, {key}=...)"
            )
    check_option_names(name, CONFIG_CLASSES[name], values)
    return CONFIG_CLASSES[name](**values)
