"""Temporary switch to evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode inside the context, then restore the mode of each module (frozen norms too).

    Args:
        model: the network.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.models.evaluating import evaluating
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4).eval())  # trains with a frozen norm
        >>> with evaluating(model):
        ...     model.training
        False
        >>> [module.training for module in model]
        [True, False]
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
