"""Statistics of the graphs that a network builds; :mod:`pyg_vig.plot` draws them."""

from pyg_vig.analysis.attention import BlockAttention, attention_weights
from pyg_vig.analysis.diversity import diversity, diversity_by_block
from pyg_vig.analysis.edges import (
    chance_purity,
    edge_length_by_block,
    edge_lengths,
    neighbor_purity,
    patch_centers,
    purity_by_block,
)
from pyg_vig.analysis.labels import UNLABELLED, patch_labels
from pyg_vig.analysis.statistics import GraphStatistics, graph_statistics, times_chosen, to_networkx

__all__ = [
    "UNLABELLED",
    "BlockAttention",
    "GraphStatistics",
    "attention_weights",
    "chance_purity",
    "diversity",
    "diversity_by_block",
    "edge_length_by_block",
    "edge_lengths",
    "graph_statistics",
    "neighbor_purity",
    "patch_centers",
    "patch_labels",
    "purity_by_block",
    "times_chosen",
    "to_networkx",
]
