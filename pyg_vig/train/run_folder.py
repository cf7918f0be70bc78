"""The folder of a run: its creation, and the names of its files apart from those in ``file_format``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import _get_rank

from pyg_vig.atomic import write_atomically
from pyg_vig.models.file_format import CONFIG
from pyg_vig.train.options import Options, RunOptions

METRICS = "metrics.csv"  # one row per epoch
LAST_CHECKPOINT = "last.ckpt"  # checkpoint to resume from
RESULT = "result.json"  # accuracy on held-out images
LOGS = "logs"  # folder for the loggers
NEIGHBORS_FIGURE = "neighbors.png"  # the learned graphs
CURVES_FIGURE = "curves.png"  # curves of the metrics

_FOLDER_VARIABLE = "PYG_VIG_RUN"  # passes the folder from the first process to those it starts


def create_run_folder(config: RunOptions) -> Path:
    """Create a new folder, named after the run, or by default after its ``default_name``, numbered if that is taken.

    With several processes, only the first one creates it.

    Raises:
        ValueError: if the name is taken, or if processes started together have no common name.
    """
    if is_rank_zero():
        folder = _create_folder(config)
        os.environ[_FOLDER_VARIABLE] = str(folder)
        return folder
    if config.name is None and _FOLDER_VARIABLE not in os.environ:
        raise ValueError(
            "set --name if processes are started by torchrun or srun, so that all of them use the same folder"
        )
    return Path(os.environ[_FOLDER_VARIABLE]) if config.name is None else Path(config.runs) / config.name


def check_name_available(config: RunOptions) -> None:
    """Check that no run has this name yet.

    Raises:
        ValueError: if the name is taken.
    """
    if is_rank_zero() and config.name is not None and (Path(config.runs) / config.name).exists():
        taken = Path(config.runs) / config.name
        raise ValueError(f"{taken} already exists: choose another --name, or resume it with --resume {taken}")


def is_rank_zero() -> bool:
    """Whether this is the first process (rank 0), which writes the files of the run."""
    return int(_get_rank() or 0) == 0


def _create_folder(config: RunOptions) -> Path:
    runs = Path(config.runs)
    runs.mkdir(parents=True, exist_ok=True)
    if config.name is not None:
        check_name_available(config)
        (runs / config.name).mkdir()
        return runs / config.name
    number, folder = 1, runs / config.default_name
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = runs / f"{config.default_name}-{number}"
        else:
            return folder


def read_options(folder: Path, options_class: type[Options]) -> Options:
    """Read the options of a run.

    Args:
        folder: folder of the run.
        options_class: class of the options.

    Raises:
        ValueError: if the folder contains no run.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is not the folder of a run: it contains no {CONFIG}")
    return options_class.load(folder / CONFIG)


def checkpoint_to_resume(folder: Path) -> Path | None:
    """Return the checkpoint of the last complete epoch, or ``None`` if there is none yet."""
    return folder / LAST_CHECKPOINT if (folder / LAST_CHECKPOINT).exists() else None


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write the results of a trained network to the folder."""
    write_atomically(folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
