"""Networks, detectors and segmenters in the package's one format: a ``.safetensors`` file with the configuration."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from pyg_vig import models
from pyg_vig.models.checkpoint import write_atomically

WEIGHTS = "model.safetensors"  # in the folder of a run, and of a network on the Hub

_HOMES = {  # configurations and where their networks are built
    "DetectorConfig": "pyg_vig.tasks.detection.detector",
    "SegmenterConfig": "pyg_vig.tasks.segmentation.segmenter",
}


def save_model(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write weights and configuration of a network, detector or segmenter to one file, atomically.

    Args:
        model: from :func:`pyg_vig.create_model`, :func:`~pyg_vig.tasks.detection.build_detector` or
            :func:`~pyg_vig.tasks.segmentation.build_segmenter`.
        path: where to, a ``.safetensors`` file; the folder must exist.

    Raises:
        ValueError: for another kind of network, or options that a file cannot hold.

    Example:
        >>> import tempfile
        >>> from pyg_vig.tasks import load_model, save_model
        >>> from pyg_vig.tasks.detection import build_detector
        >>> options = {"depth": 1, "patch_size": 8}
        >>> model = build_detector("retinanet", backbone="vig_nano", num_classes=2, backbone_options=options)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(model, f"{folder}/model.safetensors")
        ...     load_model(f"{folder}/model.safetensors").config.num_classes
        2
    """
    from safetensors.torch import save

    if isinstance(model, models.VisionGNN):
        models.save_checkpoint(model, path)
        return
    config: Any = getattr(model, "config", None)
    kind = type(config).__name__
    if kind not in _HOMES:
        raise ValueError(f"{type(model).__name__} was not built by create_model, build_detector or build_segmenter")
    try:
        text = json.dumps({"class": kind, **asdict(config)})
    except TypeError as error:
        raise ValueError(f"the configuration cannot be written to a file, name its parts instead: {error}") from error
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(path, save(state, {"format": "pyg_vig", "config": text}))


def load_model(path: str | os.PathLike[str]) -> nn.Module:
    """Rebuild a network, detector or segmenter from its file alone, without executing code from it.

    Args:
        path: a file of :func:`save_model` or :func:`pyg_vig.save_checkpoint`, or a folder with one, see
            :func:`weights_file`.

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.

    Example:
        >>> import tempfile
        >>> from pyg_vig.tasks import load_model, save_model
        >>> from pyg_vig.tasks.segmentation import build_segmenter
        >>> options = {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1)}
        >>> model = build_segmenter("fpn", backbone="pvig_ti", num_classes=2, backbone_options=options)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(model, f"{folder}/model.safetensors")
        ...     load_model(folder).config.decoder
        'fpn'
    """
    from safetensors.torch import load_file

    path = weights_file(path)
    values = read_config(path)
    kind = values.pop("class")
    if kind not in _HOMES:
        return models.load_model(path).eval()
    home = import_module(_HOMES[kind])
    model: nn.Module = home.from_config(getattr(home, kind)(**values))
    model.load_state_dict(load_file(path))
    return model.eval()


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The file with the weights: in the folder of a run or of a network on the Hub, or the file itself.

    Raises:
        FileNotFoundError: if there is no such file.

    Example:
        >>> import pyg_vig, tempfile
        >>> from pyg_vig.checkpoint import weights_file
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
    """The configuration in a checkpoint of this package, its ``class`` among the values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no configuration.

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
    except SafetensorError as error:
        raise ValueError(f"{path} is no .safetensors file: {error}") from error
    if "config" not in metadata:
        raise ValueError(f"{path} holds no configuration, so it does not say which network it belongs to")
    return json.loads(metadata["config"])
