"""What the commands that train detectors and segmenters share."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyg_vig.cli.errors import user_errors

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyg_vig.tasks.run import Task, TaskRun


def run_task(command: str, description: str, load: Callable[[], Task], arguments: Sequence[str]) -> None:
    """Train a decoder, evaluate it, draw the curves.

    Args:
        command: name of the command.
        description: what it trains.
        load: imports the task.
        arguments: words after the command.
    """
    with user_errors(command):
        job = _prepare(command, description, load(), _with_underscores(arguments))
    print(f"writing to {job.folder}")
    try:
        figures = job.fit()
    except BaseException:  # Ctrl-C among them
        print(f"\nnot finished; go on with: pyg-vig {command} --resume {job.folder}", file=sys.stderr)
        raise
    for name, value in figures.items():
        print(f"{name.removeprefix('val_'):16} {value:.4f}")
    print(f"{'network':16} {job.weights}")


def _prepare(command: str, description: str, task: Task, arguments: list[str]) -> TaskRun:
    parser = _parser(command, description, task.options)
    if "--recipe" in arguments[:-1]:
        from pyg_vig.tasks.recipes import recipe

        chosen = recipe(arguments[arguments.index("--recipe") + 1])
        unknown = sorted(set(chosen) - set(task.options.__dataclass_fields__))
        if unknown:
            raise ValueError(f"the recipe is of another command: it sets {', '.join(unknown)}")
        parser.set_defaults(chosen)
    if "--resume" in arguments[:-1]:
        if len(arguments) > 2:
            raise ValueError("--resume goes on with the options of its folder: drop the others")
        return task.resume(arguments[1])
    values = parser.parse_args(arguments).as_dict()
    for name in ("config", "recipe", "resume"):
        values.pop(name)
    return task.start(task.options(**values))


def _parser(command: str, description: str, options: type) -> ArgumentParser:
    """One option for every field, and ``--recipe``, ``--config`` and ``--resume``."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"pyg-vig {command}", description=description)
    parser.add_argument("--recipe", type=str | None, help="Options that come with the package, such as mask_rcnn_1x.")
    parser.add_argument("--config", action="config", help="YAML file with options; those after it take precedence.")
    parser.add_argument("--resume", type=str | None, help="Folder of an interrupted run to go on with.")
    parser.add_class_arguments(options)
    return parser


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """``--batch-size`` is ``--batch_size``, and ``--lr=1`` is ``--lr 1``."""
    words: list[str] = []
    for word in arguments:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        words += [re.sub(r"(?<=\w)-", "_", name) if word.startswith("--") else name, *([value] if equals else [])]
    return words
