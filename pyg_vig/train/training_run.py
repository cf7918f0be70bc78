"""What all kinds of training runs share: from options to a folder, and the way on after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import lightning as L

from pyg_vig.models.file_format import CONFIG, WEIGHTS
from pyg_vig.train.folder import check_free, is_first, new_folder, read_options, state_to_resume
from pyg_vig.train.module import TrainingModule
from pyg_vig.train.options import RunOptions

AnyRun = TypeVar("AnyRun", bound="TrainingRun")


class TrainingRun:
    """Base of the training runs, which add :attr:`options`, :meth:`build` and :meth:`fit`.

    Start one with :meth:`start`, or go on with one that was interrupted with :meth:`resume`: all is checked and built
    then, nothing is trained yet.

    Args:
        config: the options.
        folder: the folder of the run; must exist.
        module: the network with its losses.
        data: the images.
    """

    options: ClassVar[type[RunOptions]]

    def __init__(self, config: RunOptions, folder: Path, module: TrainingModule, data: L.LightningDataModule) -> None:
        self.config = config
        self.folder = folder
        self.module = module
        self.data = data

    @classmethod
    def build(cls, config: Any) -> tuple[TrainingModule, L.LightningDataModule]:
        """Network with its losses, and images, as the options say."""
        raise NotImplementedError

    @classmethod
    def start(cls: type[AnyRun], config: Any) -> AnyRun:
        """Check the options, build network and data, make the folder with the options in it.

        Raises:
            ValueError: for options that make no sense, or a name that is taken.
            FileNotFoundError: for data that is missing.
        """
        check_free(config)
        config = config.settled()
        module, data = cls.build(config)
        folder = new_folder(config)  # last of all: what is refused leaves none behind
        run = cls(config.changed(name=folder.name), folder, module, data)
        if is_first():
            run.config.save(folder / CONFIG)
        return run

    @classmethod
    def resume(cls: type[AnyRun], folder: str | Path) -> AnyRun:
        """Go on with a run that was interrupted, from the end of its last whole epoch, exactly.

        Raises:
            ValueError: if the folder holds no run.
        """
        folder = Path(folder)
        config = read_options(folder, cls.options).settled()
        begun = state_to_resume(folder) is not None  # the weights that it began with may be gone
        return cls(config, folder, *cls.build(config.changed(weights=None) if begun else config))

    @property
    def weights(self) -> Path:
        """Where the network is saved."""
        return self.folder / WEIGHTS

    def fit(self) -> Any:
        """Train from the last whole epoch on, save the network; what it reaches on held-out images."""
        raise NotImplementedError
