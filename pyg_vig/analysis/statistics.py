"""Graph statistics of a block, computed with networkx: degrees, hubs, components, homophily."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyg_vig.analysis.edges import patch_centers
from pyg_vig.analysis.labels import UNLABELLED
from pyg_vig.graph import Layout

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class GraphStatistics:
    """Result of :func:`graph_statistics`; self-loops do not count.

    Attributes:
        nodes: number of nodes.
        edges: number of directed edges.
        in_degree: mean number of neighbours per node (per patch, if the neighbours are pooled).
        hubs: the nodes that are neighbours of the most other nodes, with that count, in descending order.
        components: sizes of the weakly connected components, largest first.
        reciprocity: share of the edges whose reverse is also an edge.
        homophily: share of the edges between labelled nodes whose ends have the same label; ``None`` without labels.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import graph_statistics, to_networkx
        >>> from pyg_vig.graph import Layout
        >>> graph = to_networkx(torch.tensor([[1, 0, 1], [0, 1, 2]]), Layout.from_grid(1, 1, 4))
        >>> statistics = graph_statistics(graph)
        >>> statistics.components, statistics.hubs[0]
        ([3, 1], (1, 2))
    """

    nodes: int
    edges: int
    in_degree: float
    hubs: list[tuple[object, int]]
    components: list[int]
    reciprocity: float
    homophily: float | None


def to_networkx(
    edge_index: Tensor,
    layout: Layout,
    source_layout: Layout | None = None,
    *,
    graph: int = 0,
    labels: Tensor | None = None,
) -> nx.DiGraph:
    """Convert the graph of one image to a networkx graph, without self-loops.

    Patches are the nodes 0, 1, ... row by row; pooled neighbours, if any, are ``("pooled", 0)`` and so on. Nodes on a
    grid have their position, relative to width and height, as attribute ``pos``.

    Args:
        edge_index: graph of one block, ``(2, E)``, as recorded by :func:`pyg_vig.record_graphs`.
        layout: how the destination nodes group into images.
        source_layout: the same for the source nodes, if these are a separate set.
        graph: index of the image in the batch.
        labels: label of every patch of that image, -1 for none; stored as attribute ``label``.

    Raises:
        ValueError: for an image that is not in the batch, or if the numbers of labels and patches differ.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import to_networkx
        >>> from pyg_vig.graph import Layout
        >>> list(to_networkx(torch.tensor([[0, 1], [0, 0]]), Layout.from_grid(1, 1, 2)).edges)
        [(1, 0)]
    """
    import networkx as nx

    if not 0 <= graph < layout.num_graphs:
        raise ValueError(f"graph must be from 0 to {layout.num_graphs - 1} in this batch, got {graph}")
    first, last = _node_range(layout, graph)
    if labels is not None and labels.numel() != last - first:
        raise ValueError(f"labels must contain one for each of {last - first} patches, got {tuple(labels.shape)}")
    pooled = source_layout is not None and source_layout is not layout
    network = nx.DiGraph()
    _add_nodes(network, layout, graph, pooled=False)
    if pooled:
        _add_nodes(network, source_layout, graph, pooled=True)  # type: ignore[arg-type]
    source_first = _node_range(source_layout or layout, graph)[0]
    edges = edge_index.detach().cpu()
    for source, node in edges[:, (edges[1] >= first) & (edges[1] < last)].T.tolist():
        neighbor = source - source_first
        if pooled or source != node:
            network.add_edge(("pooled", neighbor) if pooled else neighbor, node - first)
    for node, label in enumerate([] if labels is None else labels.flatten().tolist()):
        if label != UNLABELLED:
            network.nodes[node]["label"] = label
    return network


def graph_statistics(network: nx.DiGraph, *, hubs: int = 5) -> GraphStatistics:
    """Compute degrees, hubs, components and reciprocity, and homophily if nodes have a ``label``.

    Args:
        network: a directed graph, for instance from :func:`to_networkx`.
        hubs: number of hubs to return.

    Example:
        >>> import networkx as nx
        >>> from pyg_vig.analysis import graph_statistics
        >>> graph_statistics(nx.DiGraph([(0, 1), (1, 0), (2, 1)])).reciprocity  # two of three
        0.6666666666666666
    """
    import networkx as nx

    labels = nx.get_node_attributes(network, "label")
    links = [(a, b) for a, b in network.edges if a in labels and b in labels]
    same_label = sum(labels[a] == labels[b] for a, b in links)
    in_degrees = [degree for node, degree in network.in_degree if not network.nodes[node].get("pooled")]
    return GraphStatistics(
        nodes=network.number_of_nodes(),
        edges=network.number_of_edges(),
        in_degree=sum(in_degrees) / max(len(in_degrees), 1),
        hubs=sorted(network.out_degree, key=lambda pair: -pair[1])[:hubs],
        components=sorted(map(len, nx.weakly_connected_components(network)), reverse=True),
        reciprocity=nx.overall_reciprocity(network) if network.number_of_edges() else 0.0,
        homophily=same_label / len(links) if links else None,
    )


def times_chosen(edge_index: Tensor, num_src: int, *, pooled: bool = False) -> Tensor:
    """Number of other nodes that have each node as a neighbour, ``(N_src,)``: out-degrees without self-loops.

    Args:
        edge_index: ``(2, E)``, source row first.
        num_src: number of source nodes.
        pooled: whether the source nodes are a separate set (pooled neighbours), so that no edge is a self-loop.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import times_chosen
        >>> times_chosen(torch.tensor([[0, 1, 1], [0, 0, 2]]), 3).tolist()
        [0, 2, 0]
    """
    source, destination = edge_index.detach().cpu()
    return (source if pooled else source[source != destination]).bincount(minlength=num_src)


def _add_nodes(network: nx.DiGraph, layout: Layout, graph: int, *, pooled: bool) -> None:
    first, last = _node_range(layout, graph)
    positions = None if layout.grid is None else patch_centers(layout)[first:last].tolist()
    for node in range(last - first):
        attributes: dict[str, Any] = {} if positions is None else {"pos": tuple(positions[node])}
        if pooled:
            attributes["pooled"] = True
        network.add_node(("pooled", node) if pooled else node, **attributes)


def _node_range(layout: Layout, graph: int) -> tuple[int, int]:
    """Index of the first row of the graph's nodes, and of the row after its last."""
    sizes = layout.sizes()
    first = int(sizes[:graph].sum())
    return first, first + int(sizes[graph])
