"""Gradient checkpointing for modules that contain batch norms."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_module(module: nn.Module, *inputs: Any) -> Tensor:
    """Apply the module, recomputing its activations in the backward pass instead of storing them.

    Batch norms update their running statistics only once, as without checkpointing. (Under ``torch.compile``, this
    needs no special treatment.)

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pyg_vig.models.grad_checkpointing import checkpoint_module
        >>> module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> checkpoint_module(module, torch.rand(5, 4)).sum().backward()
        >>> module[1].num_batches_tracked
        tensor(1)
    """
    if torch.compiler.is_compiling():
        return checkpoint(module, *inputs, use_reentrant=False)
    return checkpoint(
        module, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _PreserveRunningStats(module))
    )


class _PreserveRunningStats:
    """A re-enterable context in which batch norms update copies of their running statistics.

    A momentum of zero would still count batches, and select other kernels for norms with a cumulative average;
    without running statistics, autograd would save fewer tensors than in the forward pass.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.saved: list[tuple[nn.Module, dict[str, Tensor | None]]] = []

    def __enter__(self) -> None:
        for norm in self.module.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training and norm.track_running_stats:
                self.saved.append((norm, norm._buffers.copy()))
                copies = {name: buffer if buffer is None else buffer.clone() for name, buffer in norm._buffers.items()}
                norm._buffers.update(copies)

    def __exit__(self, *_: object) -> None:
        while self.saved:
            norm, buffers = self.saved.pop()
            norm._buffers.update(buffers)
