"""A trivial kernel, to find out whether Triton works."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pyg_vig.triton_kernels import on_input_device


@on_input_device
def launch(x: torch.Tensor) -> None:
    """Write a one to the first entry of ``x``, int32.

    Raises:
        Exception: of any type, if Triton has no compiler or does not support the GPU.
    """
    _trial_kernel[(1,)](x)


@triton.jit
def _trial_kernel(x):
    tl.store(x, 1)
