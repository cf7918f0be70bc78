"""Recipes for detectors and segmenters that come with the package: fields of their training options, as YAML."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def list_recipes() -> list[str]:
    """Names of the recipes.

    Example:
        >>> from pyg_vig.tasks.recipes import list_recipes
        >>> list_recipes()
        ['mask_rcnn_1x', 'retinanet_1x', 'semantic_fpn_ade20k', 'upernet_ade20k']
    """
    return sorted(file.name.removesuffix(".yaml") for file in files(__name__).iterdir() if file.name.endswith(".yaml"))


def recipe(name: str) -> dict[str, Any]:
    """The options of a recipe.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> from pyg_vig.tasks.recipes import recipe
        >>> recipe("mask_rcnn_1x")["milestones"]
        [8, 11]
    """
    import yaml

    if name not in list_recipes():
        raise ValueError(f"unknown recipe {name!r}: choose {', '.join(list_recipes())}")
    return yaml.safe_load((files(__name__) / f"{name}.yaml").read_text())
