"""Learning rates of the dense tasks: warm-up, then steps, a cosine or a polynomial, counted in optimiser steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from pyg_vig.train.optimizer import parameter_groups, warmup_cosine

Schedule = Literal["steps", "cosine", "poly"]


def rate(
    step: int, *, schedule: str, total: int, warmup: int = 0, milestones: Sequence[float] = (), power: float = 0.9
) -> float:
    """Factor of the learning rate at a step.

    Args:
        step: the optimiser step.
        schedule: ``"steps"`` (a tenth after every milestone), ``"cosine"`` or ``"poly"`` (both to 0).
        total: steps of the whole training.
        warmup: steps of the linear rise before.
        milestones: for ``"steps"``, shares of the training in [0, 1].
        power: for ``"poly"``, the exponent.

    Example:
        >>> from pyg_vig.tasks.optimization import rate
        >>> [round(rate(step, schedule="steps", total=12, milestones=(8 / 12, 11 / 12)), 3) for step in (0, 8, 11)]
        [1.0, 0.1, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return warmup_cosine(step, warmup=warmup, total=total)
    if schedule == "poly":
        return max(0.0, 1 - step / max(1, total)) ** power
    return 0.1 ** sum(step >= round(share * total) for share in milestones)


def adamw(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    schedule: str,
    total: int,
    warmup: int,
    milestones: Sequence[float] = (),
) -> OptimizerLRScheduler:
    """AdamW without decay of biases and norms, with its schedule, as Lightning takes them.

    Args:
        model: the network.
        lr: largest learning rate.
        weight_decay: decay of the weights.
        schedule: see :func:`rate`.
        total: optimiser steps of the training.
        warmup: steps of the warm-up.
        milestones: see :func:`rate`.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr)
    factor = partial(rate, schedule=schedule, total=total, warmup=warmup, milestones=milestones)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
