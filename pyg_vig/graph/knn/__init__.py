"""k-nearest-neighbour graphs."""

from pyg_vig.graph.knn.graph import KNNGraph, knn_graph, knn_table

__all__ = ["KNNGraph", "knn_graph", "knn_table"]
