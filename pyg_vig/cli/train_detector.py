"""``pyg-vig train-detector``."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.task import fit
from pyg_vig.cli.training import start_run

_DESCRIPTION = "Train RetinaNet or Mask R-CNN on images in COCO's format, and report COCO's average precision."


def run(arguments: Sequence[str]) -> None:
    """Train RetinaNet or Mask R-CNN on images in COCO's format."""
    with user_errors("train-detector"):
        from pyg_vig.tasks.detection import DetectionRun

        job = start_run("train-detector", _DESCRIPTION, arguments, DetectionRun)
    fit("train-detector", job)
