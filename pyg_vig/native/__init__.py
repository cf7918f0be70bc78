"""C kernels for CPUs, and the one place that decides where they run.

The machine's compiler (``$CC``, ``cc``, ``gcc`` or ``clang``) builds them for its processor when one is first needed,
which takes about two seconds, and the result is cached for all later processes (:mod:`pyg_vig.native.build`). Without
a compiler, slower code in plain PyTorch does the same. The environment variable ``PYG_VIG_NATIVE=0`` switches the
kernels off, and so does ``with native_kernels(False):``.

The kernels share PyTorch's threads, and their results do not depend on the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_vig.kernels import Switch, is_transform_active
from pyg_vig.native.build import load_library
from pyg_vig.native.functions import (
    ACTIVATIONS as ACTIVATIONS,
    BATCH_NORM_ACTIVATIONS as BATCH_NORM_ACTIVATIONS,
    activate_ as activate_,
    batch_norm as batch_norm,
    batch_norm_backward as batch_norm_backward,
    gather_max as gather_max,
    linear as linear,
    nearest as nearest,
    normalize as normalize,
    scatter_to_argmax as scatter_to_argmax,
)

__all__ = ["is_available", "is_supported", "native_kernels"]

native_kernels = Switch("PYG_VIG_NATIVE")
"""Context manager: ``with native_kernels(False):`` runs plain PyTorch in place of the C kernels."""


def is_available() -> bool:
    """Whether the kernels may run, building them if necessary. (Do not call this while compiling.)

    They may not run where something intercepts PyTorch's operators, such as a FLOP counter or a function transform,
    which would miss them.

    Example:
        >>> from pyg_vig.native import is_available, native_kernels
        >>> with native_kernels(False):
        ...     is_available()
        False
    """
    intercepted = torch._C._len_torch_dispatch_stack() or is_transform_active()
    return native_kernels.on and not intercepted and load_library() is not None


def is_supported(x: Tensor) -> bool:
    """Whether the kernels can run on ``x``: if it is float32 or float64 on a CPU, and they are available.

    Example:
        >>> import torch
        >>> from pyg_vig.native import is_supported
        >>> is_supported(torch.rand(3, device="meta"))
        False
    """
    return x.is_cpu and x.dtype in (torch.float32, torch.float64) and is_available()
