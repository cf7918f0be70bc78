"""Speed of whole networks, each case in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import EAGER, PRODUCTS, Build, build, comparison
from pyg_vig.benchmark.process import in_fresh_process
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.timing import Timings, interleave


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
        names: ``"eager"``, ``"fused"``, ``"compiled"``, or another that ``build`` accepts; the bare products always
            come along.
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
    measured = comparison(case, mode, names, build)
    timings = interleave(measured, rounds)
    gflops = {PRODUCTS: measured[PRODUCTS].flops / 1e9}  # type: ignore[attr-defined]
    return [{**speed_row(timings, name, case, baseline), "gflops": gflops.get(name)} for name in measured]


def speed_row(timings: Timings, name: str, case: Case, baseline: str) -> Row:
    """What the timings say of one subject, beside the baseline and the bare products."""
    return {
        "subject": name,
        "seconds": [round(value, 6) for value in timings.seconds[name]],
        "median": timings.median(name),
        "images_per_second": case.batch / timings.median(name),
        "speedup": timings.speedup(name, baseline),
        "share_of_products": timings.speedup(name, PRODUCTS),
    }
