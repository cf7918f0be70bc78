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


def start_run(
    command: str,
    description: str,
    arguments: Sequence[str],
    run_class: type[AnyRun],
    groups: Sequence[type] = (),
) -> AnyRun:
    """Start or resume a run according to the arguments of a command.

    Args:
        command: name of the command, which determines the available recipes.
        description: description of the command for the help.
        arguments: arguments after the command.
        run_class: class of the run.
        groups: dataclasses that make up the options, one group of the help each; by default all options are one group.

    Raises:
        ValueError: for other options beside ``--resume``, an unknown recipe, or options that the run rejects.
    """
    options: Any = run_class.options
    arguments = _complete_switches([_replace_hyphens(argument) for argument in arguments], options)
    folder, arguments = _pop_option("--resume", arguments)
    if folder is not None:
        if arguments:
            raise ValueError(f"--resume uses the options stored in {folder}: drop {' '.join(arguments)}")
        return run_class.resume(folder)
    recipe, arguments = _pop_option("--recipe", arguments)
    parser = _build_parser(command, description, groups or [options])
    if recipe is not None:
        parser.set_defaults(configs.recipe(recipe, command))
    values = parser.parse_args(arguments).as_dict()
    return run_class.start(options(**{field.name: values[field.name] for field in fields(options)}))


@contextmanager
def resume_hint(command: str, folder: Path) -> Iterator[None]:
    """Print how to resume the run if it does not finish."""
    try:
        yield
    except BaseException:  # including Ctrl-C
        print(f"\nthe run did not finish; resume it with: pyg-vig {command} --resume {folder}", file=sys.stderr)
        raise


def _build_parser(command: str, description: str, groups: Sequence[type]) -> ArgumentParser:
    """Parser with one option per field; ``--recipe`` and ``--resume``, handled earlier, are here for the help only."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"pyg-vig {command}", description=description)
    names = ", ".join(configs.list_recipes(command))
    recipe_help = f"Recipe with default options; other options take precedence: {names}."
    parser.add_argument("--recipe", type=str | None, help=recipe_help)
    parser.add_argument("--config", action="config", help="YAML file with options; options after it take precedence.")
    parser.add_argument("--resume", type=str | None, help="Folder of an interrupted run to continue.")
    for group in groups:
        parser.add_class_arguments(group)
    return parser


def _replace_hyphens(argument: str) -> str:
    """Replace hyphens in option names by underscores (``--batch-size`` becomes ``--batch_size``), but not in values."""
    name, equals, value = argument.partition("=")
    return re.sub(r"(?<=\w)-", "_", name) + equals + value if argument.startswith("--") else argument


def _complete_switches(arguments: list[str], options: type) -> list[str]:
    """Complete boolean options that lack a value: ``--fast_dev_run`` becomes ``--fast_dev_run=true``."""
    switches = {f"--{field.name}" for field in fields(options) if isinstance(field.default, bool)}
    next_arguments = [*arguments, "--"][1:]
    return [
        f"{argument}=true" if argument in switches and following.startswith("--") else argument
        for argument, following in zip(arguments, next_arguments, strict=True)
    ]


def _pop_option(option: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the value of an option, or ``None`` if it is not given, and the other arguments."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2], arguments[:i] + arguments[i + 1 :]
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1], arguments[:i] + arguments[i + 2 :]
    return None, arguments
