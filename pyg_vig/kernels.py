"""Shared by the C and the Triton kernels: when they may run, and how compilers and exporters handle them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


class Switch:
    """Enables or disables a set of kernels: by an environment variable (``0`` disables), or for a ``with`` block.

    A block affects all threads, because gradients are computed in other threads than the one that asks for them. If
    blocks overlap, the one that was entered last counts.

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
        self.on = self._default = os.environ.get(variable) != "0"
        self._blocks: dict[object, bool] = {}  # in the order in which they were entered

    @contextmanager
    def __call__(self, enabled: bool) -> Iterator[None]:
        """Switch the kernels on or off until the block ends."""
        block = object()
        self._blocks[block] = enabled
        self._update()
        try:
            yield
        finally:
            del self._blocks[block]
            self._update()

    def _update(self) -> None:
        self.on = next(reversed(self._blocks.values()), self._default)


def is_transform_active() -> bool:
    """Whether PyTorch's operators are being traced or transformed, which cannot see inside a kernel.

    This is the case in tracing, forward-mode differentiation and function transforms, but not while compiling:
    compilers can use the kernels that are registered as operators.

    Example:
        >>> import torch
        >>> from pyg_vig.kernels import is_transform_active
        >>> torch.func.grad(lambda x: x * is_transform_active())(torch.ones(()))
        tensor(1.)
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._is_tracing() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_exporting() -> bool:
    """Whether this runs in :func:`torch.export.export`.

    In PyTorch 2.11, ``torch.compiler.is_exporting()`` is also true in a region under ``torch.compile``.

    Example:
        >>> from pyg_vig.kernels import is_exporting
        >>> is_exporting()
        False
    """
    return torch.compiler._is_exporting_flag


def is_untransformed(*tensors: Tensor) -> bool:
    """Whether these are plain tensors, and no exporting, tracing or function transform is active."""
    if torch.compiler.is_compiling():
        return not is_exporting()
    return are_plain_tensors(*tensors) and not is_transform_active()


def are_plain_tensors(*tensors: Tensor) -> bool:
    """Whether all but the last are non-empty and no subclass of Tensor; the last may be a parameter, or empty."""
    *rows, weight = tensors
    return all(type(x) is Tensor and x.numel() > 0 for x in rows) and type(weight) in (Tensor, nn.Parameter)


def register_operator(function: Callable[..., Any], name: str | None = None) -> Any:
    """Register a function that does not modify its arguments, and return the operator ``pyg_vig::NAME``.

    Like :func:`torch.library.custom_op`, but without its overhead of tens of microseconds per call. Register the fake
    implementation (:func:`torch.library.register_fake`) and the gradient (:func:`torch.library.register_autograd`)
    separately.

    Args:
        function: the implementation; the operator's schema is inferred from its annotations.
        name: name of the operator, by default the function's.

    Example:
        >>> import torch
        >>> from pyg_vig.kernels import register_operator
        >>> def double_of(x: torch.Tensor) -> torch.Tensor:
        ...     return 2 * x
        >>> register_operator(double_of)(torch.ones(2))
        tensor([2., 2.])
    """
    name = name or function.__name__
    schema = torch.library.infer_schema(function, mutates_args=())
    torch.library.define(f"pyg_vig::{name}", schema)
    torch.library.impl(f"pyg_vig::{name}", "CompositeExplicitAutograd", function)
    return getattr(torch.ops.pyg_vig, name).default
