"""Training of a detector or segmenter, from options to the folder of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L

from pyg_vig.models.file_format import CONFIG, WEIGHTS
from pyg_vig.tasks.checkpoint import save_model
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.module import TaskModule
from pyg_vig.train.curves import plot_curves
from pyg_vig.train.folder import (
    CURVES,
    METRICS,
    check_free,
    is_first,
    new_folder,
    read_options,
    state_to_resume,
    write_result,
)
from pyg_vig.train.trainer import folder_trainer, quiet


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
        config = self.module.config
        with quiet():
            trainer = folder_trainer(
                config,
                self.folder,
                gradient_clip_val=config.clip or None,
                check_val_every_n_epoch=config.evaluate_every,
                logger=False,
            )
            trainer.fit(self.module, self.data, ckpt_path=state_to_resume(self.folder), weights_only=True)
            figures = dict(trainer.validate(self.module, self.data, verbose=False)[0])
        if trainer.is_global_zero:
            save_model(self.module.model.cpu().eval(), self.weights)
            write_result(self.folder, figures)
            plot_curves(self.folder / METRICS, self.folder / CURVES, self.folder.name)
        return figures


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
        config = _with_frozen(config)
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
        folder = Path(folder)
        config = _with_frozen(read_options(folder, self.options))
        begun = state_to_resume(folder) is not None
        return TaskRun(folder, *self.build(replace(config, weights=None) if begun else config))


def _with_frozen(config: TaskConfig) -> TaskConfig:
    """The options with what ``freeze_norm`` means: a run that goes on needs no weights, by which it is chosen."""
    return replace(config, freeze_norm=config.weights is not None) if config.freeze_norm is None else config
