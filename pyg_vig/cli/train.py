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

    from pyg_vig.train import Result, Run


def run(arguments: Sequence[str]) -> None:
    """Train, evaluate, draw."""
    with user_errors("train"):
        job = _prepare(arguments)
        import pyg_vig.plot  # noqa: F401  missing packages are told before the training, not after it
    if job.config.fast_dev_run:
        job.fit()
        print("it works: one batch of training, validation and test ran; nothing was written")
        return
    if job.writes:
        print(f"writing to {job.folder}")
    try:
        result = job.fit()
    except BaseException:  # Ctrl-C among them
        print(f"\nnot finished; go on with: pyg-vig train --resume {job.folder}", file=sys.stderr)
        raise
    if job.writes:
        _report(job, result)


def _report(job: Run, result: Result) -> None:
    if job.data.skipped:
        print(f"skipped       {job.data.skipped} times an image that cannot be read (named above), over all epochs")
    print(f"test accuracy {result.accuracy:.2%} on {result.images} held-out images of {result.data}")
    print(f"network       {job.weights}")
    print(f"picture       {job.draw()}")


def _prepare(arguments: Sequence[str]) -> Run:
    from pyg_vig.train import Run, RunConfig

    switches = {f"--{field.name}" for field in fields(RunConfig) if isinstance(field.default, bool)}
    name, arguments = _recipe(_with_values(_with_underscores(arguments), switches))
    values = build_parser(name).parse_args(arguments).as_dict()
    for other in ("config", "recipe"):
        values.pop(other, None)
    folder = values.pop("resume")
    config = RunConfig(**values)
    if folder is None:
        return Run.start(config)
    default = RunConfig()
    given = [field.name for field in fields(config) if getattr(config, field.name) != getattr(default, field.name)]
    if given:
        raise ValueError(f"--resume goes on with the options of {folder}: drop --{', --'.join(given)}")
    return Run.resume(folder)


def build_parser(recipe: str | None = None) -> ArgumentParser:
    """One option for every field of :class:`~pyg_vig.train.RunConfig`; ``--recipe``, ``--config`` and ``--resume``.

    Args:
        recipe: name of the recipe that gives the defaults.
    """
    from jsonargparse import ArgumentParser

    from pyg_vig import configs
    from pyg_vig.train.config import GROUPS

    parser = ArgumentParser(prog="pyg-vig train", description="Train a network.")
    text = f"Options to begin with, those after it take precedence: {', '.join(configs.list_recipes())}."
    parser.add_argument("--recipe", type=str | None, help=text)
    parser.add_argument("--config", action="config", help="YAML file with options; those after it take precedence.")
    parser.add_argument("--resume", type=str | None, help="Folder of an interrupted run to go on with.")
    for group in GROUPS.values():
        parser.add_class_arguments(group)
    if recipe is not None:
        parser.set_defaults(configs.recipe(recipe))
    return parser


def _recipe(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The recipe named on the command line, and the other arguments."""
    for i, word in enumerate(arguments):
        if word.startswith("--recipe="):
            return word.partition("=")[2], arguments[:i] + arguments[i + 1 :]
        if word == "--recipe" and i + 1 < len(arguments):
            return arguments[i + 1], arguments[:i] + arguments[i + 2 :]
    return None, arguments


def _with_values(arguments: list[str], switches: set[str]) -> list[str]:
    """``--fast_dev_run`` alone is ``--fast_dev_run=true``."""
    following = [*arguments, "--"][1:]
    return [
        f"{word}=true" if word in switches and after.startswith("--") else word
        for word, after in zip(arguments, following, strict=True)
    ]


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """``--batch-size`` is ``--batch_size``; values and ``--options.FIELD`` stay as they are."""
    return [re.sub(r"^--[\w-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word) for word in arguments]
