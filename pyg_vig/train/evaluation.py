"""Evaluate trained networks on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from pyg_vig.models import load_model
from pyg_vig.models.file_format import CONFIG, weights_file
from pyg_vig.train.classification import Classification
from pyg_vig.train.config import RunConfig
from pyg_vig.train.data import ImageData
from pyg_vig.train.datasets import load_splits
from pyg_vig.train.trainer import evaluation_trainer, quiet

_REPLACED: dict[str, Any] = {  # options of the training run that do not apply
    "devices": 1,
    "nodes": 1,
    "strategy": "auto",
    "accelerator": "auto",
    "loggers": [],
}


class Result(NamedTuple):
    """Accuracy on held-out images.

    Attributes:
        accuracy: fraction of images whose class has the largest score.
        loss: mean cross-entropy.
        images: number of images.
        data: name of the data set.

    Example:
        >>> from pyg_vig.train import Result
        >>> f"{Result(accuracy=0.9916, loss=0.14, images=359, data='digits').accuracy:.1%}"
        '99.2%'
    """

    accuracy: float
    loss: float
    images: int
    data: str


def evaluate(checkpoint: str | Path, **changes: Any) -> Result:
    """Evaluate a trained network on the held-out images of a data set, by default that of its run.

    Args:
        checkpoint: folder of a run, or a file written by :func:`pyg_vig.save_checkpoint`.
        **changes: fields of :class:`~pyg_vig.train.RunConfig` to replace, such as ``data`` and ``root``; ``data`` is
            required for a file without a ``config.yaml`` in the same folder.

    Raises:
        ValueError: if the data set is not specified, or its classes do not match the network.
        FileNotFoundError: if the checkpoint does not exist.

    Example:
        >>> import pyg_vig, tempfile
        >>> from pyg_vig.train import evaluate
        >>> model = pyg_vig.create_model("vig_nano", depth=1, in_channels=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pyg_vig.save_checkpoint(model, f"{folder}/model.safetensors")
        ...     result = evaluate(f"{folder}/model.safetensors", data="digits", limit=20)
        >>> result.images
        20
    """
    path = weights_file(checkpoint)
    if (path.parent / CONFIG).exists():
        no_accumulation = {"accumulate": 1} if "batch_size" in changes else {}
        config = RunConfig.load(path.parent / CONFIG, **(_REPLACED | no_accumulation | changes))
    elif "data" in changes:
        config = RunConfig(**changes)
    else:
        raise ValueError(f"there is no {CONFIG} next to {path}: set the data set to evaluate on with --data")
    model = load_model(path).eval()
    splits = load_splits(config.data, config.root, download=config.download, limit=config.limit)
    if len(splits.classes) != model.num_classes:
        raise ValueError(f"{config.data} has {len(splits.classes)} classes, but the network has {model.num_classes}")
    _check_classes(model.config.classes, splits.classes, config.data)
    with quiet():
        return run_test(
            evaluation_trainer(config), Classification(model, config), ImageData(splits, model.config, config)
        )


def _check_classes(trained: Sequence[str] | None, given: Sequence[str], data: str) -> None:
    """Check that both lists hold the same names in the same order, as classes are compared by index."""
    for trained_name, name in zip(trained or given, given, strict=True):
        if trained_name != name:
            raise ValueError(
                f"{data} has class {name!r} where the network was trained with {trained_name!r}: name its folders as "
                "in training"
            )


def run_test(trainer: L.Trainer, module: Classification, data: ImageData) -> Result:
    """Run the trainer's test loop on the held-out images; unreadable images do not count.

    Raises:
        ValueError: if no image can be read.
    """
    skipped_before = data.skipped
    metrics = trainer.test(module, data, verbose=False)[0]
    count = len(data.splits.test) - (data.skipped - skipped_before)  # type: ignore[arg-type]
    if not metrics:
        raise ValueError(f"none of the held-out images of {module.config.data} can be read")
    return Result(metrics["test_accuracy"], metrics["test_loss"], count, module.config.data)
