"""When kernels may run, those in C and those for GPUs alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd import forward_ad


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


def is_transformed() -> bool:
    """Whether something follows PyTorch's operators step by step, which would not see what a kernel does.

    Tracing, forward-mode derivatives and function transforms do; compilers have operators of ours to hold.

    Example:
        >>> import torch
        >>> from pyg_vig.native.switch import is_transformed
        >>> torch.func.grad(lambda x: x * is_transformed())(torch.ones(()))
        tensor(1.)
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._is_tracing() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
