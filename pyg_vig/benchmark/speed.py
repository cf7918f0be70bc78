"""Speed of whole networks, each case in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import EAGER, MODES, PRODUCTS, Build, build
from pyg_vig.benchmark.process import in_fresh_process
from pyg_vig.benchmark.timing import interleave

Row = dict[str, Any]


def measure_speed(
    case: Case,
    mode: str,
    names: Sequence[str],
    rounds: int,
    malloc: str = "default",
    *,
    baseline: str = EAGER,
    build: Build = build,
) -> list[Row]:
    """A row for every subject.

    Args:
        case: network and load.
        mode: ``"inference"`` or ``"training"``.
        names: ``"eager"``, ``"fused"``, ``"compiled"``, or what else ``build`` knows; the bare products always come
            along.
        rounds: how often each is timed.
        malloc: setting of the allocator.
        baseline: the subject that speedups refer to.
        build: module-level function that builds the subjects.

    Example:
        >>> from pyg_vig.benchmark import Case, measure_speed
        >>> rows = measure_speed(Case("vig_nano", batch=1, size=32, threads=1), "inference", ["fused"], rounds=1)
        >>> [row["subject"] for row in rows]
        ['fused', 'products']
    """
    rows = in_fresh_process(_measure, malloc, case, mode, names, rounds, baseline, build)
    return [{**case.describe(), "mode": mode, "malloc": malloc, **row} for row in rows]


def _measure(case: Case, mode: str, names: Sequence[str], rounds: int, baseline: str, build: Build) -> list[Row]:
    case.start()
    subjects = MODES[mode](case, names, build)
    timings = interleave(subjects, rounds)
    products = subjects[PRODUCTS]
    return [
        {
            "subject": name,
            "seconds": [round(value, 6) for value in timings.seconds[name]],
            "median": timings.median(name),
            "images_per_second": case.batch / timings.median(name),
            "speedup": timings.speedup(name, baseline),
            "share_of_products": timings.speedup(name, PRODUCTS),
            "gflops": products.flops / 1e9 if name == PRODUCTS else None,  # type: ignore[attr-defined]
        }
        for name in timings.seconds
    ]
