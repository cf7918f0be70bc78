"""Open the network that a user specifies: by name, checkpoint, or folder of a run."""

from __future__ import annotations

from pathlib import Path

from pyg_vig.models import VisionGNN, build_model, get_config, list_models, load_checkpoint, load_model
from pyg_vig.models.file_format import weights_file


def open_network(name: str, checkpoint: str | None = None) -> VisionGNN:
    """Build a network by name, or load it with its weights from a file or the folder of a run.

    Args:
        name: name of a network, checkpoint file, or folder of a run.
        checkpoint: file with other weights for the network, for instance from the official code or mmpretrain.

    Raises:
        FileNotFoundError: if ``name`` is a path at which there is no checkpoint.
        ValueError: for an unknown name, or weights that do not fit.
    """
    file = _find_weights(name)
    model = build_model(get_config(name)) if file is None else load_model(file)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, reset_head=True)
    return model


def describe_network(name: str, checkpoint: str | None = None) -> str:
    """Describe, for captions, the network that :func:`open_network` opens and where its weights come from."""
    if checkpoint is not None:
        return f"{name} with the weights of {_shorten_path(checkpoint)}"
    return f"{name} with random weights, not trained" if _find_weights(name) is None else _shorten_path(name)


def _find_weights(name: str) -> Path | None:
    """Return the file with the weights, or ``None`` for the name of a network."""
    path = Path(name)
    try:
        return weights_file(path)
    except FileNotFoundError:
        if name not in list_models() and (path.is_dir() or path.suffix or len(path.parts) > 1):
            raise
    return None


def _shorten_path(path: str) -> str:
    """Shorten a path to folder and file name: pictures are shared, and should not show the whole path."""
    absolute = Path(path).resolve()
    return absolute.name if absolute.is_dir() else f"{absolute.parent.name}/{absolute.name}"
