"""``pyg-vig graph``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.network import describe_network, open_network
from pyg_vig.cli.photo import open_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(arguments: Sequence[str]) -> None:
    """Save a figure of the graphs that a network builds on a photo."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig graph",
        description="Draw the neighbours of two patches of a photo, in the first, middle and last block.",
    )
    parser.add_argument("photo", help="image file, or 'example' for scikit-image's photo of a cat")
    parser.add_argument("--model", default="vig_ti", help="name, checkpoint or folder of a run (default: vig_ti)")
    parser.add_argument("--checkpoint", help="weights for --model, such as an official or mmpretrain file")
    parser.add_argument(
        "--patches", nargs="+", metavar="Y,X", help="patch positions as fractions of height and width, such as 0.4,0.7"
    )
    parser.add_argument(
        "-o", "--output", default="graph.png", help="figure to write, in any matplotlib format (default: graph.png)"
    )
    options = parser.parse_args(arguments)
    with user_errors("graph"):
        path = Path(options.output)
        path = path if path.suffix else path.with_suffix(".png")
        _draw(options).savefig(path, dpi=150)
    print(f"picture {path}")


def _draw(options: argparse.Namespace) -> Figure:
    import torch

    from pyg_vig.models.record import find_graphers
    from pyg_vig.plot import plot_blocks
    from pyg_vig.preprocessing import transform_for

    torch.manual_seed(0)
    model = open_network(options.model, options.checkpoint)
    image = transform_for(model.config, crop=1.0)(open_photo(options.photo))
    points = None if options.patches is None else [[_parse_point(text) for text in options.patches]]
    last = len(find_graphers(model)) - 1
    title = describe_network(options.model, options.checkpoint)
    blocks = sorted({0, last // 2, last})
    return plot_blocks(model, image[None], blocks=blocks, points=points, title=title, panel=3.4, across=True)


def _parse_point(text: str) -> tuple[float, float]:
    y, _, x = text.partition(",")
    try:
        point = float(y), float(x)
    except ValueError:
        point = -1.0, -1.0
    if not all(0 <= value < 1 for value in point):
        raise ValueError(f"--patches takes positions Y,X in [0, 1), such as 0.4,0.7, got {text}")
    return point
