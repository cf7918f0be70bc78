"""``pyg-vig train-segmenter``."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.cli.task import run_task


def run(arguments: Sequence[str]) -> None:
    """Train Semantic FPN or UPerNet on images in ADE20K's layout."""
    description = "Train Semantic FPN or UPerNet on images in ADE20K's layout, and report the mean IoU."
    run_task("train-segmenter", description, "pyg_vig.tasks.segmentation.run", arguments)
