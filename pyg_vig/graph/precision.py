"""What half precision is too coarse for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """At least float32: sums leave the range and the digits of half precision, and near neighbours look alike in it.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import at_least_float32
        >>> [at_least_float32(torch.ones(1, dtype=kind)).dtype for kind in (torch.float16, torch.float64)]
        [torch.float32, torch.float64]
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def as_float64(x: Tensor) -> Tensor:
    """``x`` in float64, for sums of which a small difference is wanted; in float32 where the device has no other.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import as_float64
        >>> as_float64(torch.ones(2)).dtype
        torch.float64
    """
    return at_least_float32(x) if x.device.type == "mps" else x.double()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which operations on the device keep their types; nothing on devices that have no autocast.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.precision import without_autocast
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu"), without_autocast(x.device):
        ...     (x @ x).dtype
        torch.float32
    """
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
