"""From a name to a graph builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from pyg_vig.graph.dagc import DAGCGraph
from pyg_vig.graph.given import GivenGraph
from pyg_vig.graph.grid import GridGraph
from pyg_vig.graph.knn import KNNGraph
from pyg_vig.graph.svga import SVGAGraph

GraphSpec = str | nn.Module | Callable[..., nn.Module]


def graph_resolver(query: GraphSpec, *, graph_kwargs: dict[str, Any] | None = None, **knn_options: Any) -> nn.Module:
    """Build a graph builder, a module ``(x, layout) -> adjacency``.

    Args:
        query: ``"knn"``, ``"grid"`` (8 neighbours), ``"svga"`` (rows and columns, every second patch), ``"dagc"``
            (the alike among those), ``"given"``, a
            module of your own (used as it is), or a factory.
        graph_kwargs: arguments of the builder that ``query`` names, such as ``{"step": 4}`` for ``"svga"``.
        **knn_options: what the network around it asks of ``"knn"``; ``graph_kwargs`` prevail, and other builders do not
            see it.

    Raises:
        ValueError: for an unknown name, or an argument that the builder does not have.

    Example:
        >>> from pyg_vig.graph import graph_resolver
        >>> graph_resolver("svga", graph_kwargs={"step": 4}, k=9)
        SVGAGraph(step=4, loop=False)
    """
    graph_kwargs = graph_kwargs or {}
    if isinstance(query, nn.Module):
        if graph_kwargs:
            raise ValueError(f"{query!r} is built already: set {', '.join(graph_kwargs)} where you build it")
        return query
    if isinstance(query, str):
        if query not in _BUILDERS:
            raise ValueError(f"unknown graph {query!r}: choose {', '.join(map(repr, _BUILDERS))}, or a module")
        query, options = _BUILDERS[query], knn_options if query == "knn" else {}
        try:
            return query(**options | graph_kwargs)
        except TypeError as error:
            raise ValueError(f"graph_kwargs do not fit {query.__name__}: {error}") from error
    if callable(query):
        return query(**graph_kwargs)
    raise ValueError(f"a graph is given by name, module or factory, got {query!r}")


_BUILDERS: dict[str, type[nn.Module]] = {
    "knn": KNNGraph,
    "grid": GridGraph,
    "svga": SVGAGraph,
    "dagc": DAGCGraph,
    "given": GivenGraph,
}
