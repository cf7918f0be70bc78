"""``pyg-vig info``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from pyg_vig.cli.errors import user_errors
from pyg_vig.cli.network import open_network
from pyg_vig.models import count_macs, count_parameters
from pyg_vig.models.published import PUBLISHED


def run(arguments: Sequence[str]) -> None:
    """Print configuration, size and stages of a network."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig info", description="Show configuration, size and stages of a network."
    )
    parser.add_argument("network", help="name (see pyg-vig models), checkpoint, or folder of a run")
    parser.add_argument("--size", type=int, help="image side in pixels, for counting multiply-adds")
    options = parser.parse_args(arguments)
    with user_errors("info"):
        model = open_network(options.network)
        size = model.config.image_size if options.size is None else options.size
        macs = count_macs(model, size), count_macs(model, size, definition=True)
    print(f"parameters     {count_parameters(model):,}")
    print(f"multiply-adds  {macs[0] / 1e9:.3f} G at {size} x {size} (edge by edge {macs[1] / 1e9:.3f} G)")
    if options.network in PUBLISHED:
        paper = PUBLISHED[options.network]
        parameters = f"{paper.params_m} M parameters, " if paper.params_m else ""
        print(f"the paper's    {parameters}{paper.flops_g} G FLOPs, {paper.top1} % top-1 on ImageNet")
    print("stages")
    for stage, info in zip(model.stages, model.feature_info, strict=True):
        print(f"  {len(stage.blocks)} blocks, {info['num_chs']} channels, stride {info['reduction']}")
    print(f"configuration ({type(model.config).__name__})")
    for name, value in asdict(model.config).items():
        print(f"  {name:16} {value}")
