"""Save and load networks, detectors and segmenters as ``.safetensors`` files that include the configuration."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from torch import nn

from pyg_vig import models
from pyg_vig.models.file_format import read_config, read_weights, unwrap_model, weights_file, write_network

_BUILDER_MODULES = {  # configuration class: module that builds its network
    "DetectorConfig": "pyg_vig.tasks.detection.detector",
    "SegmenterConfig": "pyg_vig.tasks.segmentation.segmenter",
}


def save_model(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights and configuration of a network, detector or segmenter to one file, atomically.

    Args:
        model: from :func:`pyg_vig.create_model`, :func:`~pyg_vig.tasks.detection.build_detector` or
            :func:`~pyg_vig.tasks.segmentation.build_segmenter`.
        path: the ``.safetensors`` file to write; its folder must exist.

    Raises:
        ValueError: if the model was not built by one of these functions, or its options cannot be stored in a file.

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
    model = unwrap_model(model)
    if isinstance(model, models.VisionGNN):
        models.save_checkpoint(model, path)
        return
    config: Any = getattr(model, "config", None)
    if type(config).__name__ not in _BUILDER_MODULES:
        raise ValueError(
            f"expected a model built by create_model, build_detector or build_segmenter, got {type(model).__name__}"
        )
    write_network(path, model, config)


def load_model(path: str | os.PathLike[str], **overrides: Any) -> nn.Module:
    """Rebuild a network, detector or segmenter from its file alone, without executing code from the file.

    Args:
        path: a file written by :func:`save_model` or :func:`pyg_vig.save_checkpoint`, or a folder that contains one,
            see :func:`pyg_vig.models.file_format.weights_file`.
        **overrides: fields of the configuration to replace, see :func:`pyg_vig.load_model`.

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has other contents.

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
    path = weights_file(path)
    values = read_config(path)
    class_name = values.pop("class")
    if class_name not in _BUILDER_MODULES:
        return models.load_model(path, **overrides)
    values |= overrides
    module = import_module(_BUILDER_MODULES[class_name])
    config = getattr(module, class_name)
    models.config.check_option_names(class_name, config, values)
    model: nn.Module = module.from_config(config(**values))
    model.load_state_dict(read_weights(path))
    return model.eval()
