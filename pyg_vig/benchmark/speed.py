"""Speed of whole networks, each case measured in a fresh process."""

from __future__ import annotations

from collections.abc import Sequence

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import EAGER, PRODUCTS, Build, build, build_subjects
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
    """Time all subjects of a case and return a row for each.

    Args:
        case: network and input.
        mode: ``"inference"`` or ``"training"``.
        names: ``"eager"``, ``"fused"``, ``"compiled"``, or other names that ``build`` accepts; the bare matrix
            products are always included.
        rounds: number of times each subject is timed.
        malloc: allocator settings, ``"default"`` or ``"tuned"``.
        baseline: subject that speedups are relative to.
        build: module-level function that builds the networks.

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
    subjects = build_subjects(case, mode, names, build)
    timings = interleave(subjects, rounds)
    gflops = {PRODUCTS: subjects[PRODUCTS].flops / 1e9}  # type: ignore[attr-defined]
    return [{**speed_row(timings, name, case, baseline), "gflops": gflops.get(name)} for name in subjects]


def speed_row(timings: Timings, name: str, case: Case, baseline: str) -> Row:
    """Summarise the timings of a subject, relative to the baseline and to the bare matrix products."""
    return {
        "subject": name,
        "seconds": [round(value, 6) for value in timings.seconds[name]],
        "median": timings.median(name),
        "images_per_second": case.batch / timings.median(name),
        "speedup": timings.speedup(name, baseline),
        "share_of_products": timings.speedup(name, PRODUCTS),
    }
