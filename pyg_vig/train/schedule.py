"""The learning rate at every step of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

Schedule = Literal["steps", "cosine", "poly"]
_POWER = 0.9  # of the polynomial, as usual for ADE20K


def learning_rate_factor(
    step: int,
    *,
    schedule: Schedule,
    total: int,
    warmup: int = 0,
    floor: float = 0.0,
    milestones: Sequence[float] = (),
) -> float:
    """Factor of the learning rate: a line from (nearly) 0 to 1 in ``warmup`` steps, then the schedule.

    Args:
        step: the step, from 0.
        schedule: ``"steps"`` (a tenth after every milestone), ``"cosine"`` or ``"poly"`` (both fall to the end).
        total: steps of the whole training; after them a cosine stays where it is.
        warmup: steps of the line.
        floor: for ``"cosine"``, factor at the end.
        milestones: for ``"steps"``, shares of the training in [0, 1].

    Raises:
        ValueError: for an unknown schedule.

    Example:
        >>> from pyg_vig.train.schedule import learning_rate_factor
        >>> [round(learning_rate_factor(step, schedule="cosine", warmup=2, total=6), 2) for step in range(7)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        share = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
    if schedule == "poly":
        return max(0.0, 1 - step / max(1, total)) ** _POWER
    if schedule != "steps":
        raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {schedule!r}")
    return 0.1 ** sum(step >= round(share * total) for share in milestones)
