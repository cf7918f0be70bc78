"""Code shared by the training commands: start runs from arguments and recipes, and resume interrupted ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pyg_vig import configs

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from pyg_vig.train.training_run import TrainingRun

AnyRun = TypeVar("AnyRun", bound="TrainingRun")


def begin(
    command: str,
    description: str,
    arguments: Sequence[str],
    kind: type[AnyRun],
    groups: Sequence[type] = (),
) -> AnyRun:
    """Start or resume a run according to the arguments of a command.

    Args:
        command: name of the command, which determines the available recipes.
        description: description of the command for the help.
        arguments: arguments after the command.
        kind: class of the run.
        groups: dataclasses that make up the options, one group of the help each; by default all options are one group.

    Raises:
        ValueError: for other options beside ``--resume``, an unknown recipe, or options that the run rejects.
    """
    options: Any = kind.options
    words = _with_values([_with_underscores(word) for word in arguments], options)
    folder, words = _taken("--resume", words)
    if folder is not None:
        if words:
            raise ValueError(f"--resume goes on with the options of {folder}: drop {' '.join(words)}")
        return kind.resume(folder)
    recipe, words = _taken("--recipe", words)
    parser = _parser(command, description, groups or [options])
    if recipe is not None:
        parser.set_defaults(configs.recipe(recipe, command))
    values = parser.parse_args(words).as_dict()
    return kind.start(options(**{field.name: values[field.name] for field in fields(options)}))


@contextmanager
def resumable(command: str, folder: Path) -> Iterator[None]:
    """Print how to resume the run if it does not finish."""
    try:
        yield
    except BaseException:  # including Ctrl-C
        print(f"\nnot finished; go on with: pyg-vig {command} --resume {folder}", file=sys.stderr)
        raise


def _parser(command: str, description: str, groups: Sequence[type]) -> ArgumentParser:
    """Parser with one option per field; ``--recipe`` and ``--resume``, handled earlier, are here for the help only."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"pyg-vig {command}", description=description)
    text = f"Recipe with default options; other options take precedence: {', '.join(configs.list_recipes(command))}."
    parser.add_argument("--recipe", type=str | None, help=text)
    parser.add_argument("--config", action="config", help="YAML file with options; options after it take precedence.")
    parser.add_argument("--resume", type=str | None, help="Folder of an interrupted run to continue.")
    for group in groups:
        parser.add_class_arguments(group)
    return parser


def _with_underscores(word: str) -> str:
    """Replace hyphens in option names by underscores (``--batch-size`` becomes ``--batch_size``), but not in values."""
    name, equals, value = word.partition("=")
    return re.sub(r"(?<=\w)-", "_", name) + equals + value if word.startswith("--") else word


def _with_values(words: list[str], options: type) -> list[str]:
    """Complete boolean options that lack a value: ``--fast_dev_run`` becomes ``--fast_dev_run=true``."""
    switches = {f"--{field.name}" for field in fields(options) if isinstance(field.default, bool)}
    following = [*words, "--"][1:]
    return [
        f"{word}=true" if word in switches and after.startswith("--") else word
        for word, after in zip(words, following, strict=True)
    ]


def _taken(option: str, words: list[str]) -> tuple[str | None, list[str]]:
    """Return the value of an option, or ``None`` if it is not given, and the other arguments."""
    for i, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2], words[:i] + words[i + 1 :]
        if word == option and i + 1 < len(words):
            return words[i + 1], words[:i] + words[i + 2 :]
    return None, words
