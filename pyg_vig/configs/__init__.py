"""Training recipes as YAML files, ``COMMAND/NAME.yaml``: one folder for every command with ``--recipe``."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["COMMANDS", "list_recipes", "recipe"]

COMMANDS = ("train", "train-detector", "train-segmenter")


def list_recipes(command: str = "train") -> list[str]:
    """Return the names of a command's recipes; ImageNet recipes are named after their network.

    Args:
        command: ``"train"``, ``"train-detector"`` or ``"train-segmenter"``.

    Example:
        >>> from pyg_vig.configs import list_recipes
        >>> list_recipes()[:3]
        ['fashion_mnist', 'mobilevig_ti', 'mobilevig_s']
        >>> list_recipes("train-segmenter")
        ['semantic_fpn_ade20k', 'upernet_ade20k']
    """
    return list(_read_recipes(command))


def recipe(name: str, command: str = "train") -> dict[str, Any]:
    """Return the options of a recipe, as fields of :class:`pyg_vig.train.RunConfig` or of the command's own options.

    Args:
        name: one of :func:`list_recipes`.
        command: the command that the recipe is for.

    Raises:
        ValueError: for an unknown name, or a recipe for another command.

    Example:
        >>> from pyg_vig.configs import recipe
        >>> recipe("vig_b")["options"]
        {'drop_path_rate': 0.3}
        >>> recipe("mask_rcnn_1x", "train-detector")["milestones"]
        [8, 11]
    """
    recipes = _read_recipes(command)
    if name not in recipes:
        others = [other for other in COMMANDS if name in _read_recipes(other)]
        problem = f"{name} is a recipe of {others[0]}, not of {command}" if others else f"unknown recipe {name!r}"
        raise ValueError(f"{problem}: choose among {', '.join(recipes)}")
    return deepcopy(recipes[name])


@cache
def _read_recipes(command: str) -> dict[str, dict[str, Any]]:
    """Read the recipes of a command; a file holds one recipe or, with ``networks``, one per network and its options."""
    import yaml

    if command not in COMMANDS:
        raise ValueError(f"command {command!r} has no recipes: choose among {', '.join(COMMANDS)}")
    recipes: dict[str, dict[str, Any]] = {}
    for file in sorted((files(__name__) / command).iterdir(), key=lambda file: file.name):
        values = yaml.safe_load(file.read_text())
        networks = values.pop("networks", None)
        if networks is None:
            recipes[file.name.removesuffix(".yaml")] = values
        for network, options in (networks or {}).items():
            recipes[network] = values | {"model": network, "options": values.get("options", {}) | options}
    return recipes
