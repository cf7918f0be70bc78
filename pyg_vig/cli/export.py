"""``pyg-vig export``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.network import open_network
from pyg_vig.export import FORMATS, export_model, verify_export

if TYPE_CHECKING:
    from pyg_vig.export import Comparison

_NUM_IMAGES = 8  # number of images for the comparison


def run(arguments: Sequence[str]) -> None:
    """Write the file, and compare its outputs with those of the network."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig export",
        description="Export a network to a file that runs without pyg_vig, for any batch size.",
    )
    parser.add_argument("network", help="name (see pyg-vig models), checkpoint, or folder of a run")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="ONNX, PyTorch's exported program, or AOTInductor package (default: by the suffix of FILE, else onnx)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: NETWORK.SUFFIX)")
    parser.add_argument(
        "--image-size", nargs="+", type=int, metavar="N", help="image side in pixels, or height and width"
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the file and compare its scores (default: on)",
    )
    options = parser.parse_args(arguments)
    suffix, _ = FORMATS[options.format or "onnx"]
    with user_errors("export"):
        size = _parse_size(options.image_size)
        model = open_network(options.network)
        path = export_model(
            model, options.output or f"{Path(options.network).stem}{suffix}", format=options.format, image_size=size
        )
    print(f"file        {path}")
    print(f"size        {path.stat().st_size / 2**20:.1f} MiB")
    if options.verify:
        with user_errors("export"):
            comparison = verify_export(model, path, format=options.format, image_size=size, images=_NUM_IMAGES)
        _report(comparison)


def _parse_size(sides: Sequence[int] | None) -> tuple[int, int] | None:
    if sides is None:
        return None
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError(f"--image-size takes a side, or height and width, got {' '.join(map(str, sides))}")
    return sides[0], sides[-1]


def _report(comparison: Comparison) -> None:
    """Print the comparison; exit with an error if no image has the network's scores."""
    differences, images = comparison.by_image, len(comparison.by_image)
    print(f"difference  {min(differences):.1e} to {max(differences):.1e} of the largest score, over {images} images")
    if comparison.alike < images:
        print(
            f"            {comparison.alike} of {images} images agree to 1e-4; the network itself differs by up to "
            f"{max(comparison.rounding):.1e}\n            between float32 and float64 (near-ties between neighbours)"
        )
    if comparison.undecided:
        print("            this holds for every image, so the comparison is inconclusive; try trained weights")
    elif not comparison.agrees:
        raise SystemExit("pyg-vig export: the file was written, but its scores differ from the network's in all images")
