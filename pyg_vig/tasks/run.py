"""Training of a detector or segmenter, from options to the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from pyg_vig.checkpoint import WEIGHTS, save_model
from pyg_vig.models.checkpoint import write_atomically
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.curves import plot_curves
from pyg_vig.tasks.module import TaskModule
from pyg_vig.train.callbacks import AtomicCheckpoints, MetricsFile, NonFiniteLoss, RunProgress
from pyg_vig.train.evaluation import quiet
from pyg_vig.train.folder import CONFIG, METRICS, RESULT, STATE, check_free, is_first, new_folder

CURVES = "curves.png"


class TaskRun:
    """A training run of a detector or segmenter; its folder holds what :class:`pyg_vig.train.Run` writes, and curves.

    Args:
        folder: the folder of the run; must exist.
        module: the network with its losses.
        data: the images, with ``train_dataloader`` and ``val_dataloader``.
    """

    def __init__(self, folder: Path, module: TaskModule, data: L.LightningDataModule) -> None:
        self.folder = folder
        self.module = module
        self.data = data

    @property
    def weights(self) -> Path:
        """Where the network is saved."""
        return self.folder / WEIGHTS

    def fit(self) -> dict[str, float]:
        """Train from the last whole epoch on, save the network, draw the curves; the figures of the last evaluation."""
        state = self.folder / STATE
        trainer = self._trainer()
        with quiet():
            trainer.fit(self.module, self.data, ckpt_path=state if state.exists() else None, weights_only=True)
            figures = trainer.validate(self.module, self.data, verbose=False)[0]
        if trainer.is_global_zero:
            save_model(self.module.model.cpu().eval(), self.weights)
            write_atomically(self.folder / RESULT, (json.dumps(figures, indent=2) + "\n").encode())
            plot_curves(self.folder / METRICS, self.folder / CURVES, self.folder.name)
        return dict(figures)

    def _trainer(self) -> L.Trainer:
        config = self.module.config
        checkpoints = ModelCheckpoint(
            self.folder, filename=Path(STATE).stem, save_on_train_epoch_end=True, enable_version_counter=False
        )
        with quiet():
            return L.Trainer(
                accelerator=config.accelerator,
                devices=config.devices,
                sync_batchnorm=config.devices > 1 and config.accelerator != "cpu" and torch.cuda.is_available(),
                precision=config.precision,  # type: ignore[arg-type]
                max_epochs=config.epochs,
                gradient_clip_val=config.clip or None,
                check_val_every_n_epoch=config.evaluate_every,
                callbacks=[NonFiniteLoss(), checkpoints, MetricsFile(self.folder / METRICS), RunProgress()],
                plugins=[AtomicCheckpoints()],
                logger=False,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                use_distributed_sampler=False,  # the data deals its images out itself
            )


@dataclass(frozen=True)
class Task:
    """A kind of training: its options, and how they become a network and its data.

    Args:
        options: class of the options.
        build: makes the network with its losses, and the images, of options.
    """

    options: type[TaskConfig]
    build: Callable[[Any], tuple[TaskModule, L.LightningDataModule]]

    def start(self, config: TaskConfig) -> TaskRun:
        """Check the options, open the data, build the network, make the folder with the options in it.

        Raises:
            ValueError: for options that make no sense, or a name that is taken.
            FileNotFoundError: for data that is missing.
        """
        check_free(config)
        module, data = self.build(config)
        folder = new_folder(config)
        if is_first():
            config.save(folder / CONFIG)
        return TaskRun(folder, module, data)

    def resume(self, folder: str | Path) -> TaskRun:
        """Go on with a run that was interrupted, from the end of its last whole epoch.

        Raises:
            ValueError: if the folder holds no run.
        """
        return TaskRun(Path(folder), *self.build(self.options(**read_options(folder))))


def read_options(folder: str | Path) -> dict[str, Any]:
    """The options of a run.

    Raises:
        ValueError: if the folder holds no run.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} holds no run: there is no {CONFIG} in it")
    return yaml.safe_load(path.read_text())
