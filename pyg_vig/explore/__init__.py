"""The graphs that a network builds on an image, as one interactive HTML page (``pip install 'pyg-vig[images]'``)."""

from pyg_vig.explore.capture import BlockGraph, capture_graphs
from pyg_vig.explore.exploration import Exploration, explore

__all__ = ["BlockGraph", "Exploration", "capture_graphs", "explore"]
