"""``pyg-vig train-segmenter``."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.task import fit
from pyg_vig.cli.training import start_run

_DESCRIPTION = "Train Semantic FPN or UPerNet on images in ADE20K's layout, and report the mean IoU."


def run(arguments: Sequence[str]) -> None:
    """Train Semantic FPN or UPerNet on images in ADE20K's layout."""
    with user_errors("train-segmenter"):
        from pyg_vig.tasks.segmentation import SegmentationRun

        job = start_run("train-segmenter", _DESCRIPTION, arguments, SegmentationRun)
    fit("train-segmenter", job)
