"""Learning rate schedules by optimizer step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

Schedule = Literal["steps", "cosine", "poly"]
_POWER = 0.9  # of the polynomial decay, as usual for ADE20K


def learning_rate_factor(
    step: int,
    *,
    schedule: Schedule,
    total: int,
    warmup: int = 0,
    floor: float = 0.0,
    milestones: Sequence[float] = (),
) -> float:
    """Return the learning rate factor of a step: linear warm-up from (nearly) 0 to 1, then the schedule.

    Args:
        step: optimizer step, starting from 0.
        schedule: ``"steps"`` (divided by 10 at every milestone), ``"cosine"`` or ``"poly"`` (both decay to the end).
        total: step at which the decay ends; a cosine stays constant after it.
        warmup: number of warm-up steps.
        floor: for ``"cosine"``, the factor at the end.
        milestones: for ``"steps"``, fractions of ``total`` in [0, 1].

    Raises:
        ValueError: if the schedule is unknown.

    Example:
        >>> from pyg_vig.train.schedule import learning_rate_factor
        >>> [round(learning_rate_factor(step, schedule="cosine", warmup=2, total=6), 2) for step in range(7)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "poly":
        return max(0.0, 1 - step / max(1, total)) ** _POWER
    if schedule != "steps":
        raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {schedule!r}")
    return 0.1 ** sum(step >= round(fraction * total) for fraction in milestones)
