"""Graphs over node matrices: layouts, graph builders, and reductions over neighbours."""

from pyg_vig.graph.adjacency import Adjacency, NeighborTable, as_edge_index
from pyg_vig.graph.criss_cross import CrissCross
from pyg_vig.graph.dagc import DAGCGraph
from pyg_vig.graph.given import GivenGraph, sorted_edges
from pyg_vig.graph.grid import GridGraph, grid_graph
from pyg_vig.graph.knn import KNNGraph, knn_graph, knn_table
from pyg_vig.graph.layout import Layout, to_map, to_nodes
from pyg_vig.graph.reduce import neighbor_dot, neighbor_max, neighbor_sum
from pyg_vig.graph.resolver import GraphSpec, graph_resolver
from pyg_vig.graph.svga import SVGAGraph, svga_graph

__all__ = [
    "Adjacency",
    "CrissCross",
    "DAGCGraph",
    "GivenGraph",
    "GraphSpec",
    "GridGraph",
    "KNNGraph",
    "Layout",
    "NeighborTable",
    "SVGAGraph",
    "as_edge_index",
    "graph_resolver",
    "grid_graph",
    "knn_graph",
    "knn_table",
    "neighbor_dot",
    "neighbor_max",
    "neighbor_sum",
    "sorted_edges",
    "svga_graph",
    "to_map",
    "to_nodes",
]
