"""GPU kernels in Triton, and the one place that decides where they run.

The kernels run on CUDA tensors where Triton is installed and works; everything else runs in plain PyTorch. The
environment variable ``PYG_VIG_TRITON=0`` switches the kernels off, and so does ``with triton_kernels(False):``. The
operators built on them (:mod:`pyg_vig.graph.operators`, :mod:`pyg_vig.graph.knn.flash`, :mod:`pyg_vig.nn.batch_norm`)
then fall back to plain PyTorch, which the tests compare the kernels with.

If ``TRITON_INTERPRET=1`` is set before the start, Triton interprets the kernels on CPU tensors, in numpy, so that they
can be tested without a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyg_vig.kernels import Switch, is_exporting, is_transform_active

__all__ = ["is_supported", "triton_kernels"]

Result = TypeVar("Result")

_INSTALLED = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
triton_kernels = Switch("PYG_VIG_TRITON")
"""Context manager: ``with triton_kernels(False):`` runs plain PyTorch in place of the Triton kernels."""


def is_supported(x: Tensor) -> bool:
    """Whether the kernels can run on ``x``.

    They cannot while exporting, as exported models must run without this library, nor in tracing and function
    transforms, see :func:`pyg_vig.kernels.is_transform_active`.

    Example:
        >>> import torch
        >>> from pyg_vig.triton_kernels import is_supported
        >>> is_supported(torch.rand(3, device="meta"))
        False
    """
    if not (_INSTALLED and triton_kernels.on) or is_exporting() or is_transform_active():
        return False
    if x.is_cuda:
        return torch.compiler.is_compiling() or _is_working(x.device)  # PyTorch's compiler needs Triton itself
    return _INTERPRETED and x.is_cpu


@cache
def _is_working(device: torch.device) -> bool:
    """Whether Triton can run a kernel on the device: it needs a C compiler, Python's headers and a supported GPU."""
    from pyg_vig.triton_kernels.trial import launch

    try:
        launch(torch.empty(1, dtype=torch.int32, device=device))
    except Exception as error:  # Triton raises many types
        warnings.warn(
            f"Triton does not work on {device}, so slower PyTorch code runs instead (set PYG_VIG_TRITON=0 to disable "
            f"the kernels without this warning): {error}",
            stacklevel=3,
        )
        return False
    return True


def on_input_device(launch: Callable[..., Result]) -> Callable[..., Result]:
    """Make a function launch its kernels on the GPU of its first argument, instead of the current one."""

    @wraps(launch)
    def wrapper(x: Tensor, *args: Any) -> Result:
        index = x.get_device()  # negative on the CPU, where Triton interprets
        if index < 0 or index == torch.cuda.current_device():  # faster than the context manager
            return launch(x, *args)
        with torch.cuda.device(index):
            return launch(x, *args)

    return wrapper


_WIDTHS = (128, 64, 32)  # channels per tile; narrower tiles leave less padding


@cache
def tile_width(channels: int) -> int:
    """Return the number of channels per tile: the widest (for coalesced reads) of those with the least padding."""
    return min(_WIDTHS, key=lambda width: -channels % width)
