"""Per-block schedules of neighbour count, dilation and stochastic depth, with the rounding of the published code."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def linspace(first: float, last: float, count: int) -> list[float]:
    """Return ``count`` evenly spaced float32 numbers from ``first`` to ``last``."""
    return torch.linspace(first, last, count, dtype=torch.float32, device="cpu").tolist()


def neighbor_counts(k: int | Sequence[int], depth: int, growth: float) -> list[int]:
    """Return the number of neighbours of each block: linear from ``k`` to ``growth * k``, rounded down, or as given.

    Raises:
        ValueError: if the sequence does not have one value per block, or a value is below 1.

    Example:
        >>> from pyg_vig.models.depth_schedule import neighbor_counts
        >>> neighbor_counts(9, 12, growth=2)
        [9, 9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 18]
    """
    counts = list(k) if isinstance(k, Sequence) else [int(value) for value in linspace(k, growth * k, depth)]
    if len(counts) != depth:
        raise ValueError(f"k must be an integer, or one per block ({depth}), got {len(counts)} values")
    if min(counts) < 1:
        raise ValueError(f"k must be at least 1 in every block, got {counts}")
    return counts


def dilations(k: Sequence[int], num_nodes: int, dilated: bool) -> list[int]:
    """Return the dilation of each block: it grows by 1 every four blocks, while the smallest grid has enough nodes."""
    largest = max(1, num_nodes // max(k))
    return [min(i // 4 + 1, largest) if dilated else 1 for i in range(len(k))]
