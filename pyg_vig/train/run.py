"""A training run from options to its folder: train, evaluate on held-out images, draw the graphs."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from pyg_vig.models import VisionGNN, build_model, get_config, load_checkpoint, load_model, save_checkpoint
from pyg_vig.models.checkpoint import write_atomically
from pyg_vig.train.callbacks import AtomicCheckpoints, MetricsFile, RunProgress
from pyg_vig.train.classification import Classification
from pyg_vig.train.config import RunConfig
from pyg_vig.train.data import ImageData
from pyg_vig.train.datasets import Splits, load_splits

CONFIG, METRICS, STATE, WEIGHTS, RESULT, PICTURE = (
    "config.yaml",
    "metrics.csv",
    "last.ckpt",
    "model.safetensors",
    "result.json",
    "neighbors.png",
)


_PICTURED = 6  # images in the picture


class Result(NamedTuple):
    """Accuracy on held-out images.

    Attributes:
        accuracy: share of images whose class has the largest score.
        loss: mean cross-entropy.
        images: number of images.
        data: where they come from.

    Example:
        >>> from pyg_vig.train import Result
        >>> f"{Result(accuracy=0.9916, loss=0.14, images=359, data='digits').accuracy:.1%}"
        '99.2%'
    """

    accuracy: float
    loss: float
    images: int
    data: str


class Run:
    """A training run: all is checked and built, nothing is trained yet.

    Start one with :meth:`start`, or go on with one that was interrupted with :meth:`resume`. Its folder holds
    ``config.yaml`` (the options), ``metrics.csv`` (one line an epoch), ``last.ckpt`` (to resume from),
    ``model.safetensors`` (the network, for :func:`pyg_vig.load_model`), ``result.json`` (held-out accuracy) and
    ``neighbors.png`` (the learned graphs).

    Args:
        config: the options.
        folder: the folder of the run; must exist.
        splits: its images.
        model: its network.

    Example:
        >>> import tempfile
        >>> from pyg_vig.train import Run, RunConfig
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     run = Run.start(RunConfig(limit=32, batch_size=16, epochs=1, options={"depth": 1}, runs=runs))
        ...     result = run.fit()
        >>> run.folder.name, result.images
        ('digits-vig_nano', 32)
    """

    def __init__(self, config: RunConfig, folder: Path, splits: Splits, model: VisionGNN) -> None:
        self.config = config
        self.folder = folder
        self.model = model
        self.data = _image_data(config, splits, model)

    @classmethod
    def start(cls, config: RunConfig) -> Run:
        """Check the options, build network and data, make the folder.

        Raises:
            ValueError: for options that make no sense, data that is missing, or a name that is taken.
        """
        if config.name is not None and (Path(config.runs) / config.name).exists():
            taken = Path(config.runs) / config.name
            raise ValueError(f"{taken} exists: choose another --name, or go on with it by --resume {taken}")
        splits = load_splits(config.data, config.root, download=config.download, limit=config.limit)
        model = _build(config, splits)
        folder = _new_folder(config)
        config = replace(config, name=folder.name)
        config.save(folder / CONFIG)
        return cls(config, folder, splits, model)

    @classmethod
    def resume(cls, folder: str | Path) -> Run:
        """Go on with a run that was interrupted, from the end of its last whole epoch, exactly.

        Raises:
            ValueError: if the folder holds no run.
        """
        config = _config_of(Path(folder))
        splits = load_splits(config.data, config.root, limit=config.limit)
        begun = (Path(folder) / STATE).exists()
        model = _build(replace(config, weights=None) if begun else config, splits)
        return cls(config, Path(folder), splits, model)

    @property
    def weights(self) -> Path:
        """Where the network is saved."""
        return self.folder / WEIGHTS

    def fit(self) -> Result:
        """Train, save the network, evaluate it on the held-out images."""
        state = self.folder / STATE
        trainer = self._trainer()
        module = Classification(self.model, self.config)
        with _quiet():
            trainer.fit(module, datamodule=self.data, ckpt_path=state if state.exists() else None, weights_only=True)
        self.model.cpu().eval()
        save_checkpoint(self.model, self.weights)
        result = _test(self.model, self.data, self.config)
        write_atomically(self.folder / RESULT, (json.dumps(result._asdict(), indent=2) + "\n").encode())
        return result

    @torch.no_grad()
    def draw(self) -> Path:
        """Draw neighbours in held-out images, in the first and the last block; the path of the picture."""
        from matplotlib import pyplot as plt

        from pyg_vig.plot import plot_blocks

        if not self.weights.exists():
            raise ValueError(f"{self.folder} holds no trained network yet: fit() first")
        model, classes = load_model(self.weights).eval(), self.data.splits.classes
        images, targets = _examples(self.data, _PICTURED)
        guesses = model(images).argmax(1).tolist()
        labels = [
            classes[target] if guess == target else f"{classes[target]} (taken for {classes[guess]})"
            for target, guess in zip(targets, guesses, strict=True)
        ]
        title = f"{self.config.model} after {self.config.epochs} epochs on {self.config.data}: held-out images"
        figure = plot_blocks(model, images, labels=labels, title=title)
        figure.savefig(self.folder / PICTURE, dpi=150)
        plt.close(figure)
        return self.folder / PICTURE

    def _trainer(self) -> L.Trainer:
        checkpoints = ModelCheckpoint(
            self.folder, filename=Path(STATE).stem, save_on_train_epoch_end=True, enable_version_counter=False
        )
        with _quiet():
            return L.Trainer(
                accelerator=self.config.accelerator,
                devices=1,
                precision=self.config.precision,  # type: ignore[arg-type]
                max_epochs=self.config.epochs,
                callbacks=[checkpoints, MetricsFile(self.folder / METRICS), RunProgress()],
                plugins=[AtomicCheckpoints()],
                logger=False,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )


def evaluate(checkpoint: str | Path, **changes: Any) -> Result:
    """Accuracy of a trained network on the held-out images of its data.

    Args:
        checkpoint: folder of a run, or a file of :func:`pyg_vig.save_checkpoint`.
        **changes: fields of :class:`~pyg_vig.train.RunConfig` to replace, such as ``data`` and ``root``; needed for a
            file that lies beside no ``config.yaml``.

    Raises:
        ValueError: if there is nothing that says which data to take, or its classes do not fit the network.
        FileNotFoundError: if there is no such checkpoint.

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
    path = Path(checkpoint)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if (path.parent / CONFIG).exists():
        config = replace(RunConfig.load(path.parent / CONFIG), **changes)
    elif "data" in changes:
        config = RunConfig(**changes)
    else:
        raise ValueError(f"{path} lies beside no {CONFIG}: name the images to evaluate on with --data")
    model = load_model(path).eval()
    splits = load_splits(config.data, config.root, download=config.download, limit=config.limit)
    if len(splits.classes) != model.num_classes:
        raise ValueError(f"{config.data} has {len(splits.classes)} classes, but the network has {model.num_classes}")
    return _test(model, _image_data(config, splits, model), config)


def _build(config: RunConfig, splits: Splits) -> VisionGNN:
    torch.manual_seed(config.seed)
    options = {"num_classes": len(splits.classes), "in_channels": splits.channels} | config.options
    if options["num_classes"] != len(splits.classes):
        raise ValueError(f"{config.data} has {len(splits.classes)} classes: drop num_classes={options['num_classes']}")
    model = build_model(get_config(config.model, **options))
    if config.weights is not None:
        load_checkpoint(model, config.weights, reset_head=True)
    return model


def _image_data(config: RunConfig, splits: Splits, model: VisionGNN) -> ImageData:
    return ImageData(
        splits,
        model.config.image_size,
        model.config.in_channels,
        batch_size=config.batch_size,
        augment=None if config.augment == "auto" else config.augment,
        seed=config.seed,
        workers=config.workers,
    )


def _test(model: VisionGNN, data: ImageData, config: RunConfig) -> Result:
    with _quiet():
        trainer = L.Trainer(
            accelerator=config.accelerator,
            devices=1,
            precision=config.precision,  # type: ignore[arg-type]
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        metrics = trainer.test(Classification(model, config), data, verbose=False)[0]
    model.cpu()
    count = len(data.splits.test)  # type: ignore[arg-type]
    return Result(metrics["test_accuracy"], metrics["test_loss"], count, config.data)


def _examples(data: ImageData, count: int) -> tuple[Tensor, list[int]]:
    """The first held-out image of every class, for at most ``count`` classes."""
    found: dict[int, Tensor] = {}
    for images, targets in data.test_dataloader():
        for image, target in zip(images, targets.tolist(), strict=True):
            found.setdefault(target, image)
        if len(found) >= min(count, len(data.splits.classes)):
            break
    chosen = sorted(found)[:count]
    return torch.stack([found[target] for target in chosen]), chosen


def _new_folder(config: RunConfig) -> Path:
    """A folder that did not exist before."""
    runs = Path(config.runs)
    runs.mkdir(parents=True, exist_ok=True)
    if config.name is not None:
        (runs / config.name).mkdir()
        return runs / config.name
    stem = f"{config.data.partition(':')[0]}-{config.model}"
    for number in range(1, 10_000):
        folder = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ValueError(f"{runs} holds too many runs called {stem}: choose a --name")


def _config_of(folder: Path) -> RunConfig:
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no run: there is no {CONFIG} in it")
    return RunConfig.load(folder / CONFIG)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on the machine and on loader workers: this module chose both."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*already exists and is not empty|Checkpoint directory.*", UserWarning)
        try:
            yield
        finally:
            logger.setLevel(level)
