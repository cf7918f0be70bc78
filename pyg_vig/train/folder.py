"""The folder of a run: what its files are called (the weights: see :mod:`pyg_vig.checkpoint`), and how it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from lightning.fabric.utilities.rank_zero import _get_rank

from pyg_vig.train.config import RunConfig

CONFIG = "config.yaml"  # the options
METRICS = "metrics.csv"  # one line an epoch
STATE = "last.ckpt"  # to resume from
RESULT = "result.json"  # its accuracy on held-out images
LOGS = "logs"  # folder of the loggers
PICTURE = "neighbors.png"  # its graphs


_CHOSEN = "PYG_VIG_RUN"  # environment variable by which the first process tells those that it starts its folder


class Named(Protocol):
    """Options that say where the folder of a run is: under ``runs``, by ``name``, or by ``stem`` and a number."""

    @property
    def runs(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def stem(self) -> str: ...


def new_folder(config: Named) -> Path:
    """Make a folder that did not exist before: the run's name, or its stem and a number.

    Where several processes train, the first one makes it.

    Raises:
        ValueError: if the name is taken, or if processes that were started together know no common name.
    """
    if is_first():
        folder = _named_folder(config)
        os.environ[_CHOSEN] = str(folder)
        return folder
    if config.name is None and _CHOSEN not in os.environ:
        raise ValueError("processes that are started together (torchrun, srun) need a common --name")
    return Path(os.environ[_CHOSEN]) if config.name is None else Path(config.runs) / config.name


def check_free(config: Named) -> None:
    """Make sure that no run has this name yet.

    Raises:
        ValueError: if the name is taken.
    """
    if is_first() and config.name is not None and (Path(config.runs) / config.name).exists():
        taken = Path(config.runs) / config.name
        raise ValueError(f"{taken} exists: choose another --name, or go on with it by --resume {taken}")


def is_first() -> bool:
    """Whether this process writes the files of the run."""
    return int(_get_rank() or 0) == 0


def _named_folder(config: Named) -> Path:
    runs = Path(config.runs)
    runs.mkdir(parents=True, exist_ok=True)
    if config.name is not None:
        check_free(config)
        (runs / config.name).mkdir()
        return runs / config.name
    number, folder = 1, runs / config.stem
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = runs / f"{config.stem}-{number}"
        else:
            return folder


def config_of(folder: Path) -> RunConfig:
    """The options of a run.

    Raises:
        ValueError: if the folder holds no run.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no run: there is no {CONFIG} in it")
    return RunConfig.load(folder / CONFIG)
