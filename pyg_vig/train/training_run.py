"""Base of all training runs: create the folder of a run, and resume an interrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import lightning as L

from pyg_vig.models.file_format import CONFIG, WEIGHTS
from pyg_vig.train.module import TrainingModule
from pyg_vig.train.options import RunOptions
from pyg_vig.train.run_folder import (
    check_name_available,
    checkpoint_to_resume,
    create_run_folder,
    is_rank_zero,
    read_options,
)

AnyRun = TypeVar("AnyRun", bound="TrainingRun")


class TrainingRun:
    """Base class of training runs; subclasses add :attr:`options`, :meth:`build` and :meth:`fit`.

    Create a run with :meth:`start`, or continue an interrupted one with :meth:`resume`. Both check the options and
    build network and data, but do not train yet.

    Args:
        config: options of the run.
        folder: folder of the run; must exist.
        module: LightningModule with the network and its losses.
        data: LightningDataModule with the images.
    """

    options: ClassVar[type[RunOptions]]

    def __init__(self, config: RunOptions, folder: Path, module: TrainingModule, data: L.LightningDataModule) -> None:
        self.config = config
        self.folder = folder
        self.module = module
        self.data = data

    @classmethod
    def build(cls, config: Any) -> tuple[TrainingModule, L.LightningDataModule]:
        """Build the LightningModule and the data that the options describe."""
        raise NotImplementedError

    @classmethod
    def start(cls: type[AnyRun], config: Any) -> AnyRun:
        """Check the options, build network and data, create the folder and save the options in it.

        Raises:
            ValueError: if options are invalid, or the name is taken.
            FileNotFoundError: if data is missing.
        """
        check_name_available(config)
        config = config.resolve_defaults()
        module, data = cls.build(config)
        folder = create_run_folder(config)  # last, so that a failure leaves no folder behind
        run = cls(config.replace(name=folder.name), folder, module, data)
        if is_rank_zero():
            run.config.save(folder / CONFIG)
        return run

    @classmethod
    def resume(cls: type[AnyRun], folder: str | Path) -> AnyRun:
        """Resume an interrupted run exactly, from the end of its last complete epoch.

        Raises:
            ValueError: if the folder contains no run.
        """
        folder = Path(folder)
        config = read_options(folder, cls.options).resolve_defaults()
        has_checkpoint = checkpoint_to_resume(folder) is not None  # the initial weights may no longer exist
        return cls(config, folder, *cls.build(config.replace(weights=None) if has_checkpoint else config))

    @property
    def weights(self) -> Path:
        """Path of the saved network."""
        return self.folder / WEIGHTS

    def fit(self) -> Any:
        """Train from the last complete epoch on, save the network and return its results on held-out images."""
        raise NotImplementedError
