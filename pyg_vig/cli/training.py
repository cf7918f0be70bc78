"""What the commands that train share: from words to a run, with recipes, and the way on after an interruption."""

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
    """Start or resume a run as the words after a command say.

    Args:
        command: name of the command, which its recipes are found by.
        description: what it trains.
        arguments: words after the command.
        kind: class of the run.
        groups: dataclasses that its options are made of, for the help; by default they are one group.

    Raises:
        ValueError: for options beside ``--resume``, an unknown recipe, or what the run refuses.
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
    """Tell how to go on with a run that ends too early."""
    try:
        yield
    except BaseException:  # Ctrl-C among them
        print(f"\nnot finished; go on with: pyg-vig {command} --resume {folder}", file=sys.stderr)
        raise


def _parser(command: str, description: str, groups: Sequence[type]) -> ArgumentParser:
    """One option for every field; ``--recipe`` and ``--resume``, taken before, are here for the help."""
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
    """``--batch-size`` is ``--batch_size``; values stay as they are."""
    name, equals, value = word.partition("=")
    return re.sub(r"(?<=\w)-", "_", name) + equals + value if word.startswith("--") else word


def _with_values(words: list[str], options: type) -> list[str]:
    """``--fast_dev_run`` alone is ``--fast_dev_run=true``."""
    switches = {f"--{field.name}" for field in fields(options) if isinstance(field.default, bool)}
    following = [*words, "--"][1:]
    return [
        f"{word}=true" if word in switches and after.startswith("--") else word
        for word, after in zip(words, following, strict=True)
    ]


def _taken(option: str, words: list[str]) -> tuple[str | None, list[str]]:
    """The value of an option, if it is given, and the other words."""
    for i, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2], words[:i] + words[i + 1 :]
        if word == option and i + 1 < len(words):
            return words[i + 1], words[:i] + words[i + 2 :]
    return None, words
