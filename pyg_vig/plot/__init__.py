"""Figures of the graphs inside a network (``pip install 'pyg-vig[plot]'``): ``Axes`` in, ``Axes`` out."""

from pyg_vig.plot.blocks import plot_blocks
from pyg_vig.plot.explanation import importance_map, plot_explanation
from pyg_vig.plot.neighbors import neighbors_of, plot_neighbors
from pyg_vig.plot.similarity import plot_similarities, plot_similarity
from pyg_vig.plot.style import COLORS

__all__ = [
    "COLORS",
    "importance_map",
    "neighbors_of",
    "plot_blocks",
    "plot_explanation",
    "plot_neighbors",
    "plot_similarities",
    "plot_similarity",
]
