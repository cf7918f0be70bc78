"""What the commands that train detectors and segmenters share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.training import begin, resumable

if TYPE_CHECKING:
    from pyg_vig.tasks.run import Task


def run_task(command: str, description: str, module: str, arguments: Sequence[str]) -> None:
    """Train a decoder, evaluate it, draw the curves.

    Args:
        command: name of the command.
        description: what it trains.
        module: module with the ``TASK``, imported here, where a missing package is told.
        arguments: words after the command.
    """
    with user_errors(command):
        task: Task = import_module(module).TASK
        job = begin(command, description, arguments, task, task.options)
    print(f"writing to {job.folder}")
    with resumable(command, job.folder):
        figures = job.fit()
    for name, value in figures.items():
        print(f"{name.removeprefix('val_'):16} {value:.4f}")
    print(f"{'network':16} {job.weights}")
