"""Dtypes for computations that half precision is too coarse for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Asked now, because the compiler of PyTorch 2.11 cannot trace the question.
_AUTOCAST_DEVICES = frozenset(
    device for device in ("cpu", "cuda", "hpu", "mps", "mtia", "xla", "xpu") if torch.amp.is_autocast_available(device)
)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert to at least float32: in half precision sums overflow or lose digits, and close neighbours look equal.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import at_least_float32
        >>> [at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.float16, torch.float64)]
        [torch.float32, torch.float64]
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x.to(dtype)``, which takes 2 us on the host even if ``x`` has that dtype already.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import cast
        >>> x = torch.ones(1)
        >>> cast(x, torch.float32) is x
        True
    """
    return x if x.dtype == dtype else x.to(dtype)


def as_float64(x: Tensor) -> Tensor:
    """Convert to float64, for small differences of large sums; to float32 on devices without float64.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import as_float64
        >>> as_float64(torch.ones(2)).dtype
        torch.float64
    """
    return at_least_float32(x) if x.device.type == "mps" else x.double()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that disables autocast on the device; it does nothing on devices without autocast.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import without_autocast
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu"), without_autocast(x.device):
        ...     (x @ x).dtype
        torch.float32
    """
    return torch.autocast(device.type, enabled=False) if device.type in _AUTOCAST_DEVICES else nullcontext()
