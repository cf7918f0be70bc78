"""Learning rates of the dense tasks: warm-up, then steps, a cosine or a polynomial, counted in optimiser steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pyg_vig.train.optimizer import warmup_cosine

Schedule = Literal["steps", "cosine", "poly"]


def rate(
    step: int, *, schedule: Schedule, total: int, warmup: int = 0, milestones: Sequence[float] = (), power: float = 0.9
) -> float:
    """Factor of the learning rate at a step.

    Args:
        step: the optimiser step.
        schedule: ``"steps"`` (a tenth after every milestone), ``"cosine"`` or ``"poly"`` (both to 0).
        total: steps of the whole training.
        warmup: steps of the linear rise before.
        milestones: for ``"steps"``, shares of the training in [0, 1].
        power: for ``"poly"``, the exponent.

    Raises:
        ValueError: for an unknown schedule.

    Example:
        >>> from pyg_vig.tasks.schedule import rate
        >>> [round(rate(step, schedule="steps", total=12, milestones=(8 / 12, 11 / 12)), 3) for step in (0, 8, 11)]
        [1.0, 0.1, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return warmup_cosine(step, warmup=warmup, total=total)
    if schedule == "poly":
        return max(0.0, 1 - step / max(1, total)) ** power
    if schedule != "steps":
        raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {schedule!r}")
    return 0.1 ** sum(step >= round(share * total) for share in milestones)
