"""From a name to a graph builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from pyg_vig.graph.given import GivenGraph
from pyg_vig.graph.grid import GridGraph
from pyg_vig.graph.knn import KNNGraph

GraphSpec = str | nn.Module | Callable[[], nn.Module]


def graph_resolver(query: GraphSpec, **knn_options: Any) -> nn.Module:
    """Build a graph builder, a module ``(x, layout) -> adjacency``.

    Args:
        query: ``"knn"``, ``"grid"`` (8 neighbours), ``"given"``, a module of your own (used as it is), or a factory
            without arguments.
        **knn_options: arguments of :class:`~pyg_vig.graph.KNNGraph`, for ``"knn"``.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(query, nn.Module):
        return query
    if query == "knn":
        return KNNGraph(**knn_options)
    if isinstance(query, str):
        if query not in _BUILDERS:
            raise ValueError(f"unknown graph {query!r}: choose 'knn', {', '.join(map(repr, _BUILDERS))}, or a module")
        return _BUILDERS[query]()
    if callable(query):
        return query()
    raise ValueError(f"a graph is given by name, module or factory, got {query!r}")


_BUILDERS: dict[str, type[nn.Module]] = {"grid": GridGraph, "given": GivenGraph}
