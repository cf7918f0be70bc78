"""``pyg-vig train``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyg_vig.train import Run


def run(arguments: Sequence[str]) -> None:
    """Train, evaluate, draw."""
    with user_errors("train"):
        job = _prepare(arguments)
        import pyg_vig.plot  # noqa: F401  missing packages are told before the training, not after it
    print(f"writing to {job.folder}")
    try:
        result = job.fit()
    except BaseException:  # Ctrl-C among them
        print(f"\nnot finished; go on with: pyg-vig train --resume {job.folder}", file=sys.stderr)
        raise
    print(f"test accuracy {result.accuracy:.2%} on {result.images} held-out images of {result.data}")
    print(f"network       {job.weights}")
    print(f"picture       {job.draw()}")


def _prepare(arguments: Sequence[str]) -> Run:
    from pyg_vig.train import Run, RunConfig

    values = build_parser().parse_args(_with_underscores(arguments)).as_dict()
    values.pop("config", None)
    folder = values.pop("resume")
    config = RunConfig(**values)
    if folder is None:
        return Run.start(config)
    default = RunConfig()
    given = [field.name for field in fields(config) if getattr(config, field.name) != getattr(default, field.name)]
    if given:
        raise ValueError(f"--resume goes on with the options of {folder}: drop --{', --'.join(given)}")
    return Run.resume(folder)


def build_parser() -> ArgumentParser:
    """One option for every field of :class:`~pyg_vig.train.RunConfig`, and ``--config`` and ``--resume``."""
    from jsonargparse import ArgumentParser

    from pyg_vig.train import RunConfig

    parser = ArgumentParser(prog="pyg-vig train", description="Train a network.")
    parser.add_argument("--config", action="config", help="YAML file with options; those after it take precedence.")
    parser.add_argument("--resume", type=str | None, help="Folder of an interrupted run to go on with.")
    parser.add_class_arguments(RunConfig)
    return parser


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """``--batch-size`` is ``--batch_size``; values and ``--options.FIELD`` stay as they are."""
    return [re.sub(r"^--[\w-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word) for word in arguments]
