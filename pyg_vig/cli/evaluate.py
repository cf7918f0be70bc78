"""``pyg-vig eval``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyg_vig.cli.errors import user_errors


def run(arguments: Sequence[str]) -> None:
    """Print the accuracy on held-out images."""
    parser = argparse.ArgumentParser(prog="pyg-vig eval", description="Evaluate a trained network on held-out images.")
    parser.add_argument("checkpoint", help="folder of a run, or a model.safetensors")
    parser.add_argument("--data", help="data set (default: that of the training run; see pyg-vig train --help)")
    parser.add_argument("--root", help="folder with the files of fashion_mnist, cifar10 or cifar100")
    parser.add_argument("--batch-size", type=int, help="images per batch")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], help="where to run")
    options = vars(parser.parse_args(arguments))
    with user_errors("eval"):
        from pyg_vig.train import evaluate

        checkpoint = options.pop("checkpoint")
        result = evaluate(checkpoint, **{name: value for name, value in options.items() if value is not None})
    print(f"test accuracy {result.accuracy:.2%} on {result.images} held-out images of {result.data}")
