"""The file format of the package: a ``.safetensors`` file whose metadata holds the network's configuration."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pyg_vig.atomic import write_atomically

WEIGHTS = "model.safetensors"  # file name in the folder of a run or of a network on the Hub
CONFIG = "config.yaml"  # in the folder of a run, next to the weights: its options

_PREFIXES = ("module.", "_orig_mod.", "model.")  # added by DistributedDataParallel, torch.compile, Lightning
_OTHER_FORMATS_HINT = "To load a file of another library, call create_model(...), then load_checkpoint(model, path)"


def weights_file(path: str | os.PathLike[str]) -> Path:
    """Return the weights file: ``path`` itself, or the file in it if it is the folder of a run or a network on the Hub.

    Raises:
        FileNotFoundError: if the file does not exist.

    Example:
        >>> import pyg_vig, tempfile
        >>> from pyg_vig.models.file_format import weights_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano"), f"{folder}/model.safetensors")
        ...     weights_file(folder).name
        'model.safetensors'
    """
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}")
    return file


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the configuration from a checkpoint of this package, including its ``class``.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file contains no configuration.

    Example:
        >>> import pyg_vig, tempfile
        >>> from pyg_vig.tasks import read_config
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano"), f"{folder}/model.safetensors")
        ...     read_config(f"{folder}/model.safetensors")["class"]
        'ViGConfig'
    """
    from safetensors import SafetensorError, safe_open

    path = weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        values = json.loads(metadata.get("config", "null"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a valid .safetensors file: {error}. {_OTHER_FORMATS_HINT}") from error
    if not isinstance(values, dict) or "class" not in values:
        raise ValueError(f"{path} contains no configuration of a network. {_OTHER_FORMATS_HINT}")
    return values


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, without the name prefixes of wrappers.

    Raises:
        ValueError: if the file has another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return strip_prefixes(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid .safetensors file: {error}") from error


def write_network(path: str | os.PathLike[str], model: nn.Module, config: Any) -> None:
    """Write the weights and the configuration (a dataclass) of a network atomically.

    Raises:
        ValueError: if a configuration value cannot be serialised.
    """
    from safetensors.torch import save

    values = {"class": type(config).__name__, **asdict(config)}
    for key in ("conv", "graph"):
        if key in values and not isinstance(values[key], str):
            values[key] = {"custom": getattr(values[key], "__name__", type(values[key]).__name__)}
    try:
        config_json = json.dumps(values)
    except TypeError as error:
        raise ValueError(f"the configuration cannot be written to a file ({error}): use names, not objects") from error
    write_atomically(path, save(strip_prefixes(_unshared(model)), {"format": "pyg_vig", "config": config_json}))


def _unshared(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict on the CPU, with copies of tensors that several keys share: safetensors rejects these."""
    state, storages = {}, set()
    for key, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        state[key] = value.clone() if storage in storages else value
        storages.add(storage)
    return state


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the network without the wrappers of ``torch.compile`` and data parallelism."""
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inner
    return model


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip the name prefixes of wrappers, in whatever order they are nested."""
    while common := [prefix for prefix in _PREFIXES if state and all(key.startswith(prefix) for key in state)]:
        state = {key.removeprefix(common[0]): value for key, value in state.items()}
    return state
