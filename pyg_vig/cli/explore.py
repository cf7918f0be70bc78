"""``pyg-vig explore``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.network import describe_network, open_network
from pyg_vig.cli.photo import open_photo

if TYPE_CHECKING:
    from pyg_vig.explore import Exploration


def run(arguments: Sequence[str]) -> None:
    """Write an interactive page of the graphs that a network builds on a photo."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig explore",
        description="Write one HTML file: point at a patch of the photo to see its neighbours in any block. The file "
        "needs no server or internet connection.",
    )
    parser.add_argument("network", help="name (see pyg-vig models), checkpoint, or folder of a run")
    parser.add_argument("photo", help="image file, or 'example' for scikit-image's photo of a cat")
    parser.add_argument("--checkpoint", help="weights for the network, such as an official or mmpretrain file")
    parser.add_argument("--size", type=int, help="side of the square image in pixels (default: the network's)")
    parser.add_argument("-o", "--output", default="explorer.html", help="file to write (default: explorer.html)")
    options = parser.parse_args(arguments)
    with user_errors("explore"):
        path = _explore(options).save(options.output)
    print(f"page {path} ({path.stat().st_size / 1e6:.2f} MB): open it in a browser")


def _explore(options: argparse.Namespace) -> Exploration:
    import torch

    from pyg_vig.explore import explore

    if options.size is not None and options.size < 1:
        raise ValueError(f"--size must be at least 1 pixel, got {options.size}")
    torch.manual_seed(0)
    model = open_network(options.network, options.checkpoint)
    caption = describe_network(options.network, options.checkpoint)
    return explore(model, open_photo(options.photo), size=options.size, caption=caption)
