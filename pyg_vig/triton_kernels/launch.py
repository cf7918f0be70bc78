"""Launch Triton kernels in a fraction of the time that Triton itself takes.

For every launch, Triton analyses the arguments anew to find the compiled kernel that suits them. On the host that takes
longer than the GPU takes for a layer of a small network. So :func:`launch` remembers the compiled kernel of all
arguments that it has seen, up to the addresses of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

_MAX_REMEMBERED = 4096  # ragged batches have new sizes all the time
_COMPILED: dict[tuple[Any, ...], Any] = {}


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    tensors: Sequence[Tensor],
    numbers: Sequence[float],
    constants: Sequence[Any] = (),
    num_warps: int = 4,
) -> None:
    """Launch ``kernel``, a function under ``triton.jit``, on the current GPU.

    Args:
        kernel: takes all pointers first, then all numbers, then all ``tl.constexpr``.
        grid: number of programs along one, two or three axes.
        tensors: arguments for the pointers.
        numbers: arguments that are no constants of the compiled code.
        constants: arguments of the type ``tl.constexpr``.
        num_warps: warps per program.
    """
    # Where Triton interprets the kernel, nothing is compiled; on AMD's GPUs, code also depends on the tensors' storage.
    if not isinstance(kernel, triton.JITFunction) or torch.version.hip is not None:
        kernel[grid](*tensors, *numbers, *constants, num_warps=num_warps)
        return
    # What Triton specialises code by: types, addresses that are multiples of 16, and some properties of integers.
    pointers = [x.data_ptr() for x in tensors]
    types = [x.dtype for x in tensors]
    aligned = [pointer % 16 == 0 for pointer in pointers]
    key = (id(kernel), tensors[0].get_device(), num_warps, *types, *aligned, *numbers, *constants)
    compiled = _COMPILED.get(key)
    if compiled is not None:
        compiled[grid + (1,) * (3 - len(grid))](*pointers, *numbers, *constants)
        return
    if len(_COMPILED) >= _MAX_REMEMBERED:
        _COMPILED.clear()
    _COMPILED[key] = kernel[grid](*tensors, *numbers, *constants, num_warps=num_warps)
