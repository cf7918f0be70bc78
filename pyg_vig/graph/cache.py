"""Cache for the graphs of grids, which depend on the size and the device only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

Graph = TypeVar("Graph")


def cached_per_device(maxsize: int) -> Callable[[Callable[..., Graph]], Callable[..., Graph]]:
    """Cache the results of a function of sizes and, as its last argument, a device. Do not modify the results.

    The cache is bypassed while compiling and in modes that intercept PyTorch's operators (such as fake tensors), whose
    results nothing else could use. Results created in inference mode are ordinary tensors, which training can use.

    Args:
        maxsize: number of graphs in the cache.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.cache import cached_per_device
        >>> numbers = cached_per_device(maxsize=4)(lambda size, device: torch.arange(size, device=device))
        >>> numbers(3, None) is numbers(3, "cpu")
        True
    """

    def decorator(build: Callable[..., Graph]) -> Callable[..., Graph]:
        cached = lru_cache(maxsize)(build)

        @wraps(build)
        def wrapper(*arguments: Any) -> Graph:
            if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
                return build(*arguments)
            *sizes, device = arguments
            resolved = torch.empty(0, device=device).device  # None is the default device, which may change
            with torch.inference_mode(False):
                return cached(*sizes, resolved)

        return wrapper

    return decorator
