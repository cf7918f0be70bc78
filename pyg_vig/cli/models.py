"""``pyg-vig models``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyg_vig.cli.errors import user_errors
from pyg_vig.models import build_model, count_macs, count_parameters, get_config, list_models
from pyg_vig.models.published import PUBLISHED


def run(arguments: Sequence[str]) -> None:
    """Print a table of the networks."""
    parser = argparse.ArgumentParser(
        prog="pyg-vig models",
        description="List the networks: parameters, multiply-adds per image (called FLOPs in the papers), and the "
        "ImageNet top-1 accuracy reported in the paper.",
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern for names, such as 'pvig_*'")
    pattern = parser.parse_args(arguments).pattern
    with user_errors("models"):
        names = list_models(pattern)
        if not names:
            raise ValueError(f"no network matches {pattern!r}: choose among {', '.join(list_models())}")
    print(f"{'name':16} {'parameters':>12} {'image':>6} {'mult-adds':>10} {'paper top-1':>12}")
    for name in names:
        model = build_model(get_config(name))
        size = model.config.image_size
        paper = f"{PUBLISHED[name].top1:.1f} %" if name in PUBLISHED else "-"
        macs = count_macs(model, size) / 1e9
        print(f"{name:16} {count_parameters(model):12,} {size:6} {macs:8.3f} G {paper:>12}")
