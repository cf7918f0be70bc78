"""Timing that is robust on a noisy machine: each round times every subject once, and ratios are taken per round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

Subject = Callable[[], object]


@dataclass(frozen=True)
class Timings:
    """Seconds of every subject, one value per round.

    Args:
        seconds: the values by subject.

    Example:
        >>> from pyg_vig.benchmark import Timings
        >>> Timings({"slow": [4.0, 40.0], "fast": [2.0, 20.0]}).speedup("fast", "slow")
        2.0
    """

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median time of a subject in seconds."""
        return median(self.seconds[name])

    def speedup(self, name: str, baseline: str) -> float | None:
        """Return the median of the per-round speedups over the baseline; ``None`` if either was not timed."""
        if name not in self.seconds or baseline not in self.seconds:
            return None
        pairs = zip(self.seconds[baseline], self.seconds[name], strict=True)
        return median(slow / fast for slow, fast in pairs)


def interleave(subjects: Mapping[str, Subject], rounds: int, warmup: int = 1) -> Timings:
    """Time every subject once per round, so that a temporary disturbance of the machine affects all of them.

    The starting subject rotates from round to round, to even out position effects such as warm caches.

    Args:
        subjects: functions to time, by name.
        rounds: number of times each subject is timed.
        warmup: number of untimed runs of each subject beforehand.

    Example:
        >>> from pyg_vig.benchmark import interleave
        >>> timings = interleave({"sum": lambda: sum(range(1000)), "nothing": lambda: None}, rounds=3)
        >>> timings.median("sum") > timings.median("nothing")
        True
    """
    names = list(subjects)
    for name in names * warmup:
        subjects[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        gc.collect()  # now rather than while a subject is timed
        for name in names[first:] + names[:first]:
            seconds[name].append(_time(subjects[name]))
    return Timings(seconds)


def _time(subject: Subject) -> float:
    _synchronize()
    start = time.perf_counter()
    subject()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
