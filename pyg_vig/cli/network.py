"""A network from what a user types: a name, a checkpoint, or the folder of a run."""

from __future__ import annotations

from pathlib import Path

from pyg_vig.checkpoint import weights_file
from pyg_vig.models import VisionGNN, build_model, get_config, list_models, load_model


def open_network(name: str) -> VisionGNN:
    """Build a network by name, or load it with its weights from a file or the folder of a run.

    Raises:
        FileNotFoundError: if there is no such file, and it is no name either.
        ValueError: for an unknown name.
    """
    path = Path(name)
    try:
        return load_model(weights_file(path))
    except FileNotFoundError:
        if name not in list_models() and (path.is_dir() or path.suffix or len(path.parts) > 1):
            raise
    return build_model(get_config(name))
