"""Tables of the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.networks import OFFICIAL
from pyg_vig.benchmark.networks import PRODUCTS
from pyg_vig.benchmark.profiling import profile_table
from pyg_vig.benchmark.report import Row, table


def speed_table(rows: Sequence[Row]) -> str:
    """Format speed, with a line for every subject of every case."""
    keys = ("model", "mode", "batch", "size", "dtype", "malloc", "subject")
    measured = (
        [1e3 * row["median"], row["images_per_second"], _ratio(row["speedup"]), _percent(row["share_of_products"])]
        for row in rows
    )
    return _keyed_table(rows, keys, ("ms", "images/s", f"x {OFFICIAL}", f"speed vs {PRODUCTS}"), measured)


def memory_table(rows: Sequence[Row]) -> str:
    """Format peak memory beyond the loaded model, and its ratio to the official code's."""
    load = ("model", "mode", "batch", "size", "dtype")
    official = {tuple(row[key] for key in load): row["peak_mib"] for row in rows if row["subject"] == OFFICIAL}
    baselines = (official.get(tuple(row[key] for key in load)) for row in rows)
    measured = (
        [row["peak_mib"], _percent(row["peak_mib"] / baseline) if baseline else None]
        for row, baseline in zip(rows, baselines, strict=True)
    )
    return _keyed_table(rows, (*load, "subject"), ("peak MiB", f"of {OFFICIAL}"), measured)


def parts_table(rows: Sequence[Row]) -> str:
    """Format the times of every part in each formulation."""
    measured = ([1e3 * row["median"], _ratio(row["speedup"]), _percent(row["share_of_products"])] for row in rows)
    columns = ("ms", "x dense", f"speed vs {PRODUCTS}")
    return _keyed_table(rows, ("part", "shape", "batch", "step", "subject"), columns, measured)


def scaling_table(rows: Sequence[Row]) -> str:
    """Format the cost of k-NN."""
    measured = ([row["median"], row["cpu_seconds"], row["peak_mib"]] for row in rows)
    columns = ("seconds", "CPU seconds", "peak MiB")
    return _keyed_table(rows, ("curve", "nodes", "k", "channels", "subject"), columns, measured)


def agreement_table(rows: Sequence[Row]) -> str:
    """Format the relative difference between our logits and the official ones."""
    measured = ([f"{row['relative_difference']:.1e}"] for row in rows)
    return _keyed_table(rows, ("model", "size", "dtype"), ("largest difference / largest logit",), measured)


def _keyed_table(
    rows: Sequence[Row], keys: Sequence[str], columns: Sequence[str], measured: Iterable[Sequence[Any]]
) -> str:
    lines = [[*(row[key] for key in keys), *values] for row, values in zip(rows, measured, strict=True)]
    return table([*keys, *columns], lines)


TABLES = {
    "agreement": agreement_table,
    "speed": speed_table,
    "memory": memory_table,
    "parts": parts_table,
    "scaling": scaling_table,
    "profile": profile_table,
}


def _ratio(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
