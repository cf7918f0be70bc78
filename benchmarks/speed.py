"""Speed of whole networks, each case in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.case import Case
from benchmarks.networks import EAGER, MODES, OFFICIAL, PRODUCTS, disagreement
from benchmarks.process import in_fresh_process
from benchmarks.timing import interleave

Row = dict[str, Any]


def measure_speed(case: Case, mode: str, names: Sequence[str], rounds: int, malloc: str = "default") -> list[Row]:
    """A row for every subject.

    Args:
        case: network and load.
        mode: ``"inference"`` or ``"training"``.
        names: subjects of :mod:`benchmarks.networks`; the bare products always come along.
        rounds: how often each is timed.
        malloc: setting of the allocator.
    """
    rows = in_fresh_process(_measure, malloc, case, mode, names, rounds)
    return [{**case.describe(), "mode": mode, "malloc": malloc, **row} for row in rows]


def _measure(case: Case, mode: str, names: Sequence[str], rounds: int) -> list[Row]:
    case.start()
    subjects = MODES[mode](case, names)
    timings = interleave(subjects, rounds)
    products = subjects[PRODUCTS]
    return [
        {
            "subject": name,
            "seconds": [round(value, 6) for value in timings.seconds[name]],
            "median": timings.median(name),
            "images_per_second": case.batch / timings.median(name),
            "speedup": timings.speedup(name, OFFICIAL),
            "share_of_products": timings.speedup(name, PRODUCTS),
            "gflops": products.flops / 1e9 if name == PRODUCTS else None,
        }
        for name in timings.seconds
    ]


def measure_agreement(case: Case) -> Row:
    """That what is timed computes the same: see :func:`benchmarks.networks.disagreement`."""
    value = in_fresh_process(_disagreement, "default", case)
    return {**case.describe(), "batch": 1, "dtype": "float64", "subject": EAGER, "relative_difference": value}


def _disagreement(case: Case) -> float:
    case.start()
    return disagreement(case)
