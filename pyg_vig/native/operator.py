"""How kernels become operators, through which compilers and exporters see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def operator(function: Callable[..., Any]) -> Any:
    """Register a function of tensors that changes none of them, and return the operator ``pyg_vig::NAME``.

    As :func:`torch.library.custom_op` does, which adds tens of microseconds to every call. Its result for fake tensors
    (:func:`torch.library.register_fake`) and its gradient (:func:`torch.library.register_autograd`) come beside it.

    Example:
        >>> import torch
        >>> from pyg_vig.native.operator import operator
        >>> def double_of(x: torch.Tensor) -> torch.Tensor:
        ...     return 2 * x
        >>> operator(double_of)(torch.ones(2))
        tensor([2., 2.])
    """
    name = f"pyg_vig::{function.__name__}"
    torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
    torch.library.impl(name, "CompositeExplicitAutograd", function)
    return getattr(torch.ops.pyg_vig, function.__name__)
