"""Temporary switch to evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode inside the context, then restore the mode of each module (frozen norms too).

    Args:
        model: the network.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.models.eval_mode import eval_mode
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4).eval())  # trains with a frozen norm
        >>> with eval_mode(model):
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
