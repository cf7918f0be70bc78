"""``pyg-vig train-detector``."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.cli.task import run_task


def run(arguments: Sequence[str]) -> None:
    """Train RetinaNet or Mask R-CNN on images in COCO's format."""
    description = "Train RetinaNet or Mask R-CNN on images in COCO's format, and report COCO's average precision."
    run_task("train-detector", description, "pyg_vig.tasks.detection.run", arguments)
