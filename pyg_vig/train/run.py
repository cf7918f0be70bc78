"""Training run of a classifier: train, evaluate on held-out images, draw the graphs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pyg_vig.models import VisionGNN, build_model, get_config, load_checkpoint, load_model, save_checkpoint
from pyg_vig.models.eval_mode import eval_mode
from pyg_vig.train.classification import Classification
from pyg_vig.train.config import RunConfig
from pyg_vig.train.curves import plot_curves
from pyg_vig.train.data import ImageData
from pyg_vig.train.datasets import load_splits
from pyg_vig.train.evaluation import Result, run_test
from pyg_vig.train.run_folder import (
    CURVES_FIGURE,
    LAST_CHECKPOINT,
    METRICS,
    NEIGHBORS_FIGURE,
    checkpoint_to_resume,
    is_rank_zero,
    write_result,
)
from pyg_vig.train.teacher import Teacher
from pyg_vig.train.trainer import classification_trainer, quiet
from pyg_vig.train.training_run import TrainingRun

_NUM_EXAMPLES = 6  # number of images in the picture


class Run(TrainingRun):
    """Training run of a classifier, checked and built but not yet trained.

    Create a run with :meth:`start`, or continue an interrupted one with :meth:`resume`. Its folder contains
    ``config.yaml`` (the options), ``metrics.csv`` (one row per epoch), ``logs`` (step logs), ``last.ckpt`` (checkpoint
    to resume from), ``model.safetensors`` (the network, for :func:`pyg_vig.load_model`), ``result.json`` (held-out
    accuracy), ``curves.png`` and ``neighbors.png`` (the learned graphs). With several processes, start the run in each
    of them.

    Example:
        >>> import tempfile
        >>> from pyg_vig.train import Run, RunConfig
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     run = Run.start(RunConfig(limit=32, batch_size=16, epochs=1, options={"depth": 1}, runs=runs))
        ...     result = run.fit()
        >>> run.folder.name, result.images
        ('digits-vig_nano', 32)
    """

    options = RunConfig
    config: RunConfig
    module: Classification
    data: ImageData

    @classmethod
    def build(cls, config: RunConfig) -> tuple[Classification, ImageData]:
        """Build the LightningModule and the data that the options describe."""
        model, data = _build_model_and_data(config)
        name = config.teacher
        teacher = None if name is None else Teacher.open(name, model.config, model.num_classes)
        return Classification(model, config, teacher), data

    @classmethod
    def start(cls, config: RunConfig) -> Run:
        """Check the options, build network and data, create the folder (except for a ``fast_dev_run``).

        Raises:
            ValueError: if options are invalid, data is missing, or the name is taken.
        """
        if config.fast_dev_run:
            return cls(config, Path(config.runs), *cls.build(config))
        return super().start(config)

    @property
    def model(self) -> VisionGNN:
        """The network."""
        return self.module.model

    @property
    def writes_files(self) -> bool:
        """Whether this process writes the files of the run: only the first one, and not in a ``fast_dev_run``."""
        return is_rank_zero() and not self.config.fast_dev_run

    def fit(self) -> Result:
        """Train the network, save it, and evaluate it on the held-out images."""
        state = None if self.config.fast_dev_run else checkpoint_to_resume(self.folder)
        with quiet():
            trainer = classification_trainer(self.config, self.folder)
            trainer.fit(self.module, datamodule=self.data, ckpt_path=state, weights_only=True)
            if state is not None and self.config.ema:  # not averaged yet if all epochs were complete
                self.model.load_state_dict(self._read_trained_weights())
            result = run_test(trainer, self.module, self.data)
        if self.writes_files:
            self._save(result)
        return result

    def _save(self, result: Result) -> None:
        """Save the network and its result."""
        model = build_model(self.model.config)
        model.load_state_dict(self._read_trained_weights())
        save_checkpoint(model, self.weights)
        write_result(self.folder, result._asdict())

    def _read_trained_weights(self) -> dict[str, Tensor]:
        """Read the network's weights from the last checkpoint: unsharded, and averaged if ``ema`` is set."""
        content = torch.load(self.folder / LAST_CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
        return {key[6:]: value for key, value in content.items() if key.startswith("model.")}

    @torch.no_grad()
    def draw(self) -> Path:
        """Draw the curves, and the neighbours in held-out images (first and last block); return the latter's path."""
        from matplotlib import pyplot as plt

        from pyg_vig.plot import plot_blocks

        if not self.weights.exists():
            raise ValueError(f"{self.folder} contains no trained network: call fit() first")
        model, classes = load_model(self.weights).eval(), self.data.splits.classes
        images, targets = _examples(self.data, _NUM_EXAMPLES)
        predictions = model(images).argmax(1).tolist()
        labels = [
            classes[target] if prediction == target else f"{classes[target]}\n(predicted: {classes[prediction]})"
            for target, prediction in zip(targets, predictions, strict=True)
        ]
        data = Path(self.config.data).name  # only the last part of a folder's path
        title = f"{self.config.model} after {self.config.epochs} epochs on {data}: held-out images"
        figure = plot_blocks(model, images, labels=labels, title=title)
        figure.savefig(self.folder / NEIGHBORS_FIGURE, dpi=150)
        plt.close(figure)
        plot_curves(self.folder / METRICS, self.folder / CURVES_FIGURE, self.folder.name)
        return self.folder / NEIGHBORS_FIGURE


def _build_model_and_data(config: RunConfig) -> tuple[VisionGNN, ImageData]:
    """Build the network and the data of a run."""
    splits = load_splits(config.data, config.root, download=config.download, limit=config.limit)
    if len(splits.classes) < 2:
        raise ValueError(f"{config.data} has {len(splits.classes)} class, but training requires at least 2")
    torch.manual_seed(config.seed)
    options = {"num_classes": len(splits.classes), "in_channels": splits.channels} | config.options
    if options["num_classes"] != len(splits.classes):
        raise ValueError(f"{config.data} has {len(splits.classes)} classes: omit num_classes={options['num_classes']}")
    from_data = {"classes": splits.classes, "crop": splits.crop}
    model = build_model(get_config(config.model, **from_data | options))
    if config.weights is not None:
        load_checkpoint(model, config.weights, reset_head=True)
    _check_forward(model)
    model.set_grad_checkpointing(config.grad_checkpointing)
    if config.compile:
        model.compile()
    return model, ImageData(splits, model.config, config)


@torch.no_grad()
def _check_forward(model: VisionGNN) -> None:
    """Run the network on a blank image, to raise errors such as more neighbours than nodes before training."""
    config = model.config
    with eval_mode(model):
        model(torch.zeros(1, config.in_channels, config.image_size, config.image_size))


def _examples(data: ImageData, count: int) -> tuple[Tensor, list[int]]:
    """Return the first held-out image of each class, for at most ``count`` classes."""
    images_by_class: dict[int, Tensor] = {}
    for images, targets in data.test_dataloader():
        for image, target in zip(images, targets.tolist(), strict=True):
            images_by_class.setdefault(target, image)
        if len(images_by_class) >= min(count, len(data.splits.classes)):
            break
    classes = sorted(images_by_class)[:count]
    return torch.stack([images_by_class[target] for target in classes]), classes
