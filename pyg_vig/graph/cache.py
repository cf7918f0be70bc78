"""Graphs of grids are made once for every size and device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

Graph = TypeVar("Graph")


def cached_per_device(maxsize: int) -> Callable[[Callable[..., Graph]], Callable[..., Graph]]:
    """Keep what a function of sizes and, last, a device returns, so do not write to it.

    Compilers, and modes that see PyTorch's operators (fake tensors among them), get a graph of their own: theirs would
    be of no use to others. What is made in inference mode is kept as ordinary tensors, which training can use.

    Args:
        maxsize: number of graphs that are kept.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.cache import cached_per_device
        >>> numbers = cached_per_device(maxsize=4)(lambda size, device: torch.arange(size, device=device))
        >>> numbers(3, None) is numbers(3, "cpu")
        True
    """

    def decorate(make: Callable[..., Graph]) -> Callable[..., Graph]:
        kept = lru_cache(maxsize)(make)

        @wraps(make)
        def remembering(*sizes: Any) -> Graph:
            if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
                return make(*sizes)
            *others, device = sizes
            place = torch.empty(0, device=device).device  # None is the default device, which may change
            with torch.inference_mode(False):
                return kept(*others, place)

        return remembering

    return decorate
