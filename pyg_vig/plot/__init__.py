"""Plots of the graphs that a network builds, on matplotlib ``Axes`` (``pip install 'pyg-vig[plot]'``)."""

from pyg_vig.plot.blocks import plot_blocks
from pyg_vig.plot.curves import plot_by_block, plot_diversity, plot_edge_length, plot_purity
from pyg_vig.plot.data import plot_points, plot_superpixels
from pyg_vig.plot.edges import plot_attention, plot_edges
from pyg_vig.plot.explanation import importance_map, plot_explanation
from pyg_vig.plot.neighbors import neighbors_of, plot_neighbors
from pyg_vig.plot.similarity import plot_similarities, plot_similarity
from pyg_vig.plot.statistics import plot_degrees, plot_hubs
from pyg_vig.plot.style import COLORS

__all__ = [
    "COLORS",
    "importance_map",
    "neighbors_of",
    "plot_attention",
    "plot_blocks",
    "plot_by_block",
    "plot_degrees",
    "plot_diversity",
    "plot_edge_length",
    "plot_edges",
    "plot_explanation",
    "plot_hubs",
    "plot_neighbors",
    "plot_points",
    "plot_purity",
    "plot_similarities",
    "plot_similarity",
    "plot_superpixels",
]
