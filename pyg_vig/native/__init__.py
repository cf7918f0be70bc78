"""Kernels in C for CPUs, and the one place that decides where they run.

The compiler of the machine (``$CC``, ``cc``, ``gcc`` or ``clang``) builds them for its processor when one is first
wanted, which takes about two seconds, and the result is kept for all later processes (:mod:`pyg_vig.native.build`).
Where there is no compiler, the paths in plain PyTorch do the same, slower. The environment variable
``PYG_VIG_NATIVE=0`` switches the kernels off, and so does ``with native_kernels(False):``.

They share PyTorch's threads, and give the same result with any number of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_vig.kernels import Switch, is_transformed
from pyg_vig.native.build import library
from pyg_vig.native.functions import (
    ACTIVATIONS,
    DIFFERENTIABLE,
    activate_,
    batch_norm,
    batch_norm_backward,
    largest,
    linear,
    nearest,
    normalize,
    scatter_winners,
)

__all__ = [
    "ACTIVATIONS",
    "DIFFERENTIABLE",
    "activate_",
    "batch_norm",
    "batch_norm_backward",
    "largest",
    "linear",
    "may_run",
    "native_kernels",
    "nearest",
    "normalize",
    "scatter_winners",
    "serves",
]

native_kernels = Switch("PYG_VIG_NATIVE")


def may_run() -> bool:
    """Whether the kernels may run, building them if they are not built yet. (Not to be asked by compilers.)

    They may not where something watches PyTorch's operators, such as a counter of FLOPs or a function transform: it
    would not see them.
    """
    watched = torch._C._len_torch_dispatch_stack() or is_transformed()
    return native_kernels.on and not watched and library() is not None


def serves(x: Tensor) -> bool:
    """Whether the kernels run on ``x``: in float32 or float64 on a CPU, and if they :func:`may_run`.

    Example:
        >>> import torch
        >>> from pyg_vig.native import serves
        >>> serves(torch.rand(3, device="meta"))
        False
    """
    return x.is_cpu and x.dtype in (torch.float32, torch.float64) and may_run()
