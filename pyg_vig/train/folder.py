"""The folder of a run: how it is made, and what its files are called beside those of a network's own format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import _get_rank

from pyg_vig.atomic import write_atomically
from pyg_vig.models.file_format import CONFIG
from pyg_vig.train.options import Options, RunOptions

METRICS = "metrics.csv"  # one line an epoch
STATE = "last.ckpt"  # to resume from
RESULT = "result.json"  # its accuracy on held-out images
LOGS = "logs"  # folder of the loggers
PICTURE = "neighbors.png"  # its graphs
CURVES = "curves.png"  # of the metrics

_CHOSEN = "PYG_VIG_RUN"  # environment variable by which the first process tells those that it starts its folder


def new_folder(config: RunOptions) -> Path:
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


def check_free(config: RunOptions) -> None:
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


def _named_folder(config: RunOptions) -> Path:
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


def read_options(folder: Path, kind: type[Options]) -> Options:
    """The options of a run.

    Args:
        folder: the folder of the run.
        kind: their class.

    Raises:
        ValueError: if the folder holds no run.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no run: there is no {CONFIG} in it")
    return kind.load(folder / CONFIG)


def state_to_resume(folder: Path) -> Path | None:
    """The checkpoint of the last whole epoch, if there is one yet."""
    return folder / STATE if (folder / STATE).exists() else None


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Keep what a trained network reaches."""
    write_atomically(folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
