"""Recipes that come with the package: the published ones for every network, and ours for small data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["list_recipes", "recipe"]


def list_recipes() -> list[str]:
    """Names of the recipes: those of the networks on ImageNet bear the name of the network.

    Example:
        >>> from pyg_vig.configs import list_recipes
        >>> list_recipes()[:3]
        ['fashion_mnist', 'mobilevig_ti', 'mobilevig_s']
    """
    return list(_recipes())


def recipe(name: str) -> dict[str, Any]:
    """Options of a training run, as fields of :class:`pyg_vig.train.RunConfig`.

    Args:
        name: one of :func:`list_recipes`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> from pyg_vig.configs import recipe
        >>> recipe("vig_b")["options"]
        {'drop_path_rate': 0.3}
    """
    if name not in _recipes():
        raise ValueError(f"unknown recipe {name!r}: choose {', '.join(_recipes())}")
    return _recipes()[name]


@cache
def _recipes() -> dict[str, dict[str, Any]]:
    """A file is a recipe, or with ``networks`` one recipe for each of them with options of its own."""
    import yaml

    found: dict[str, dict[str, Any]] = {}
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yaml"):
            continue
        values = yaml.safe_load(file.read_text())
        networks = values.pop("networks", None)
        if networks is None:
            found[file.name.removesuffix(".yaml")] = values
        for network, options in (networks or {}).items():
            found[network] = values | {"model": network, "options": values.get("options", {}) | options}
    return found
