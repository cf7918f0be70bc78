"""``pyg-vig train``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.training import resume_hint, start_run

if TYPE_CHECKING:
    from pyg_vig.train import Result, Run


def run(arguments: Sequence[str]) -> None:
    """Train a network, evaluate it, and draw its graphs."""
    with user_errors("train"):
        import pyg_vig.plot  # noqa: F401  missing packages are reported before the training, not after it
        from pyg_vig.train import Run
        from pyg_vig.train.config import GROUPS

        job = start_run("train", "Train a network.", arguments, Run, GROUPS)
    if job.config.fast_dev_run:
        job.fit()
        print("check passed: one batch each of training, validation and test ran; nothing was written")
        return
    if job.writes_files:
        print(f"writing to {job.folder}")
    with resume_hint("train", job.folder):
        result = job.fit()
    if job.writes_files:
        _report(job, result)


def _report(job: Run, result: Result) -> None:
    if job.data.skipped:
        print(f"skipped       {job.data.skipped} unreadable images over all epochs (named above)")
    print(f"test accuracy {result.accuracy:.2%} on {result.images} held-out images of {result.data}")
    print(f"network       {job.weights}")
    print(f"picture       {job.draw()}")
