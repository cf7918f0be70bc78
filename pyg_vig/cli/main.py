"""Dispatch ``pyg-vig COMMAND ...`` to the module of the command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import pyg_vig

_COMMANDS = {  # module of this package, and description for the help
    "train": ("train", "train a network, evaluate it on held-out images, draw its graphs"),
    "eval": ("evaluate", "evaluate a trained network on held-out images"),
    "predict": ("predict", "classify images, or draw boxes, masks and class maps on them"),
    "train-detector": ("train_detector", "train RetinaNet or Mask R-CNN with any backbone"),
    "train-segmenter": ("train_segmenter", "train Semantic FPN or UPerNet with any backbone"),
    "models": ("models", "list the networks, with their size and the accuracy reported in the paper"),
    "info": ("info", "show configuration, size and stages of a network or checkpoint"),
    "export": ("export", "export a network as ONNX, exported program or compiled package"),
    "bench": ("bench", "measure time and memory of networks, or profile them"),
    "graph": ("graph", "draw which patches of a photo a network links"),
    "explore": ("explore", "write an interactive HTML page: point at a patch to see its neighbours"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: arguments after ``pyg-vig``; by default those of the process.

    Raises:
        SystemExit: with a message, for invalid arguments; without one, if Ctrl-C or a closed output pipe stops the
            command.

    Example:
        >>> from pyg_vig.cli import main
        >>> main(["models", "vig_nano"])  # doctest: +NORMALIZE_WHITESPACE
        name       parameters  image  mult-adds  paper top-1
        vig_nano      106,986     32    0.007 G            -
    """
    parser = argparse.ArgumentParser(
        prog="pyg-vig",
        description="Vision graph neural networks on PyTorch Geometric.",
        epilog="Run pyg-vig COMMAND --help for the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listing = "\n".join(f"{name:15} {text}" for name, (_, text) in _COMMANDS.items())
    parser.epilog = f"commands:\n{_indent(listing)}\n\n{parser.epilog}"
    parser.add_argument("--version", action="version", version=f"pyg-vig {pyg_vig.__version__}")
    parser.add_argument("command", choices=_COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="options of the command")
    options = parser.parse_args(arguments)
    module, _ = _COMMANDS[options.command]
    try:
        import_module(f"pyg_vig.cli.{module}").run(options.arguments)
        print(end="", flush=True)
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # the exit status that shells use
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again at exit
        raise SystemExit(1) from None


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
