"""What the kernels in C and in Triton share: when they may run, and how compilers and exporters see through them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


class Switch:
    """Whether some kernels may run: by an environment variable (not if it is ``0``), or by ``with`` for a while.

    Args:
        variable: name of the environment variable, read once.

    Example:
        >>> from pyg_vig.kernels import Switch
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
        >>> from pyg_vig.kernels import is_transformed
        >>> torch.func.grad(lambda x: x * is_transformed())(torch.ones(()))
        tensor(1.)
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._is_tracing() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_untransformed(*tensors: Tensor) -> bool:
    """Whether these are plain tensors, and nothing (exporting, tracing, function transforms) looks inside."""
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    return are_plain(*tensors) and not is_transformed()


def are_plain(*tensors: Tensor) -> bool:
    """Whether these are tensors of no class derived from PyTorch's, the last perhaps a parameter, and none is empty."""
    *rows, weight = tensors
    return all(type(x) is Tensor and x.numel() > 0 for x in rows) and type(weight) in (Tensor, nn.Parameter)


def operator(function: Callable[..., Any], name: str | None = None) -> Any:
    """Register a function of tensors that changes none of them, and return the operator ``pyg_vig::NAME``.

    As :func:`torch.library.custom_op` does, which adds tens of microseconds to every call. Its result for fake tensors
    (:func:`torch.library.register_fake`) and its gradient (:func:`torch.library.register_autograd`) come beside it.

    Args:
        function: whose annotations are the operator's schema.
        name: by default the function's.

    Example:
        >>> import torch
        >>> from pyg_vig.kernels import operator
        >>> def double_of(x: torch.Tensor) -> torch.Tensor:
        ...     return 2 * x
        >>> operator(double_of)(torch.ones(2))
        tensor([2., 2.])
    """
    name = name or function.__name__
    schema = torch.library.infer_schema(function, mutates_args=())
    torch.library.define(f"pyg_vig::{name}", schema)
    torch.library.impl(f"pyg_vig::{name}", "CompositeExplicitAutograd", function)
    return getattr(torch.ops.pyg_vig, name)
