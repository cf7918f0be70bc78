"""Code shared by the commands that train detectors and segmenters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyg_vig.cli.training import resume_hint

if TYPE_CHECKING:
    from pyg_vig.tasks.run import TaskRun


def fit(command: str, job: TaskRun) -> None:
    """Train a detector or segmenter, evaluate it, plot the curves, and print the metrics.

    Args:
        command: name of the command, for the message on how to resume an interrupted run.
        job: the run.
    """
    print(f"writing to {job.folder}")
    with resume_hint(command, job.folder):
        metrics = job.fit()
    for name, value in metrics.items():
        print(f"{name.removeprefix('val_'):16} {value:.4f}")
    print(f"{'network':16} {job.weights}")
