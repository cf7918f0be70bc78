"""``pyg-vig predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyg_vig.cli.errors import user_errors


def run(arguments: Sequence[str]) -> None:
    """Print classes, or draw boxes, masks and class maps."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig predict",
        description="Print the top five classes of a classifier, or draw the boxes and masks of a detector or the "
        "class map of a segmenter on the images.",
    )
    parser.add_argument("checkpoint", help="folder of a run, or a model.safetensors")
    parser.add_argument("images", nargs="+", metavar="image", help="image files")
    parser.add_argument("-o", "--output", default=".", help="folder for the pictures (default: current folder)")
    parser.add_argument("--threshold", type=float, default=0.5, help="minimum score of detections (default: 0.5)")
    parser.add_argument("--size", type=int, help="shorter side in pixels to which a segmenter's images are resized")
    options = parser.parse_args(arguments)
    with user_errors("predict"):
        from pyg_vig.tasks.predict import Predictor

        predictor = Predictor(options.checkpoint, threshold=options.threshold, size=options.size)
        images = [Path(image) for image in options.images]
        missing = [str(image) for image in images if not image.is_file()]
        if missing:
            raise ValueError(f"no image file at {', '.join(missing)}")
        _check_names(images)
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
    unreadable = False
    for image in images:
        try:
            prediction = predictor(image)
        except ValueError as error:  # continue with the other images
            print(f"pyg-vig predict: {error}", file=sys.stderr)
            unreadable = True
            continue
        print(f"{image}: {prediction.text}")
        if prediction.picture is not None:
            target = folder / f"{image.stem}_predicted.png"
            prediction.save(target)
            print(f"picture {target}")
    if unreadable:
        raise SystemExit(2)


def _check_names(images: Sequence[Path]) -> None:
    """Raise a ValueError if two pictures would have the same name: all are written to one folder."""
    by_name: dict[str, Path] = {}
    for image in images:
        other = by_name.setdefault(image.stem, image)
        if other != image:
            raise ValueError(f"the pictures of {other} and {image} would have the same name: use separate calls")
