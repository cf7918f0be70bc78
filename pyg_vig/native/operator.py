"""How kernels become operators, through which compilers and exporters see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def operator(function: Callable[..., Any], name: str | None = None) -> Any:
    """Register a function of tensors that changes none of them, and return the operator ``pyg_vig::NAME``.

    As :func:`torch.library.custom_op` does, which adds tens of microseconds to every call. Its result for fake tensors
    (:func:`torch.library.register_fake`) and its gradient (:func:`torch.library.register_autograd`) come beside it.

    Args:
        function: whose annotations are the operator's schema.
        name: by default the function's.

    Example:
        >>> import torch
        >>> from pyg_vig.native.operator import operator
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
