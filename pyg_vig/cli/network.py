"""A network from what a user types: a name, a checkpoint, or the folder of a run."""

from __future__ import annotations

from pathlib import Path

from pyg_vig.models import VisionGNN, build_model, get_config, list_models, load_model

_WEIGHTS = "model.safetensors"  # in the folder of a run


def open_network(name: str) -> VisionGNN:
    """Build a network by name, or load it with its weights from a file or the folder of a run.

    Raises:
        ValueError: if there is neither such a name nor such a file.
    """
    path = Path(name) / _WEIGHTS if Path(name).is_dir() else Path(name)
    if path.is_file():
        return load_model(path)
    if name not in list_models() and (path.suffix or len(path.parts) > 1):
        raise ValueError(f"no checkpoint at {path}")
    return build_model(get_config(name))
