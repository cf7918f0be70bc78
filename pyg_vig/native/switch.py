"""How kernels are switched on and off, those in C and those for GPUs alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class Switch:
    """Whether some kernels may run: by an environment variable (not if it is ``0``), or by ``with`` for a while.

    Args:
        variable: name of the environment variable, read once.

    Example:
        >>> from pyg_vig.native.switch import Switch
        >>> kernels = Switch("SOME_KERNELS")
        >>> with kernels(False):
        ...     kernels.on
        False
        >>> kernels.on
        True
    """

    def __init__(self, variable: str) -> None:
        self.on = os.environ.get(variable) != "0"

    @contextmanager
    def __call__(self, enabled: bool) -> Iterator[None]:
        """Switch them on or off until the block ends."""
        before, self.on = self.on, enabled
        try:
            yield
        finally:
            self.on = before
