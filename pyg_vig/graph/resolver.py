"""Resolve names to graph builders."""

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
    """Resolve a query to a graph builder, a module ``(x, layout) -> adjacency``.

    Args:
        query: ``"knn"``, ``"grid"`` (8 neighbours), ``"svga"`` (rows and columns, every second patch), ``"dagc"``
            (only the similar patches among those), ``"given"``, your own module (used as is), or a factory.
        graph_kwargs: arguments of the builder, such as ``{"step": 4}`` for ``"svga"``.
        **knn_options: settings of the surrounding network for ``"knn"`` and the class :class:`KNNGraph`;
            ``graph_kwargs`` take precedence over them, and other builders ignore them.

    Raises:
        ValueError: for an unknown name, an argument that the builder does not accept, ``graph_kwargs`` for a module, or
            a factory that does not return a module.

    Example:
        >>> from pyg_vig.graph import graph_resolver
        >>> graph_resolver("svga", graph_kwargs={"step": 4}, k=9)
        SVGAGraph(step=4, loop=False)
    """
    graph_kwargs = graph_kwargs or {}
    if isinstance(query, nn.Module):
        if graph_kwargs:
            raise ValueError(
                f"{query!r} is a module, which takes no graph_kwargs: set {', '.join(graph_kwargs)} where you create it"
            )
        return query
    if isinstance(query, str):
        if query not in _BUILDERS:
            raise ValueError(f"unknown graph {query!r}: choose {', '.join(map(repr, _BUILDERS))}, or a module")
        query = _BUILDERS[query]
    if not callable(query):
        raise ValueError(f"expected a graph builder as name, module or factory, got {query!r}")
    is_knn = isinstance(query, type) and issubclass(query, KNNGraph)
    name, options = getattr(query, "__name__", repr(query)), (knn_options if is_knn else {}) | graph_kwargs
    try:
        graph = query(**options)
    except TypeError as error:
        raise ValueError(f"{name} does not accept these graph_kwargs: {error}") from error
    if not isinstance(graph, nn.Module):
        raise ValueError(f"{name} must return a torch.nn.Module, got {type(graph).__name__}")
    return graph


def graph_name(query: GraphSpec) -> GraphSpec:
    """Return the name of a builder class of this package; any other query as it is.

    Example:
        >>> from pyg_vig.graph import SVGAGraph
        >>> from pyg_vig.graph.resolver import graph_name
        >>> graph_name(SVGAGraph), graph_name("knn")
        ('svga', 'knn')
    """
    return next((name for name, builder in _BUILDERS.items() if builder is query), query)


_BUILDERS: dict[str, type[nn.Module]] = {
    "knn": KNNGraph,
    "grid": GridGraph,
    "svga": SVGAGraph,
    "dagc": DAGCGraph,
    "given": GivenGraph,
}
