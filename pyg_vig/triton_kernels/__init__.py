"""GPU kernels in Triton, and the one place that decides where they run.

The kernels serve CUDA tensors where Triton is installed and works; everything else takes the paths in plain PyTorch.
The environment variable ``PYG_VIG_TRITON=0`` switches them off, and so does ``with triton_kernels(False):``. Their
operators (:mod:`pyg_vig.graph.operators`, :mod:`pyg_vig.graph.knn.flash`, :mod:`pyg_vig.nn.batch_norm`) also work
without them, by the plain definition that the tests hold them to.

With ``TRITON_INTERPRET=1``, set before the start, Triton runs them on CPU tensors, one statement at a time in numpy:
that is how they are tested where there is no GPU.
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

from pyg_vig.kernels import Switch, is_transformed

Result = TypeVar("Result")

_INSTALLED = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
triton_kernels = Switch("PYG_VIG_TRITON")


def serves(x: Tensor) -> bool:
    """Whether the kernels run on ``x``.

    Not while exporting, for what is exported shall run without this library, nor where something else looks inside, see
    :func:`pyg_vig.kernels.is_transformed`.

    Example:
        >>> import torch
        >>> from pyg_vig.triton_kernels import serves
        >>> serves(torch.rand(3, device="meta"))
        False
    """
    if not (_INSTALLED and triton_kernels.on) or torch.compiler.is_exporting() or is_transformed():
        return False
    if x.device.type == "cuda":
        return torch.compiler.is_compiling() or _works(x.device)  # PyTorch's compiler needs Triton itself
    return _INTERPRETED and x.device.type == "cpu"


@cache
def _works(device: torch.device) -> bool:
    """Whether Triton builds and launches a kernel there: it needs a C compiler, Python's headers, a GPU it knows."""
    from pyg_vig.triton_kernels.trial import launch

    try:
        launch(torch.empty(1, dtype=torch.int32, device=device))
    except Exception as error:  # Triton raises many kinds
        warnings.warn(
            f"Triton does not work on {device}, so slower paths in PyTorch serve (PYG_VIG_TRITON=0 says so from the "
            f"start): {error}",
            stacklevel=3,
        )
        return False
    return True


def on_its_device(launch: Callable[..., Result]) -> Callable[..., Result]:
    """Run a function on the GPU that its first argument is on; Triton by itself takes the current one."""

    @wraps(launch)
    def guarded(x: Tensor, *args: Any) -> Result:
        with torch.cuda.device_of(x):
            return launch(x, *args)

    return guarded


_WIDTHS = (128, 64, 32)  # of a tile's row; of the narrower, several fit a matrix with less left over


def widest(channels: int) -> int:
    """Channels of a tile: of the widths that leave the least over the widest, so that a warp reads much of a row."""
    return min(_WIDTHS, key=lambda width: -channels % width)
