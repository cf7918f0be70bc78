"""What a run leaves behind: a JSON file that says where it comes from, and tables."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import OFFICIAL, PRODUCTS

Row = dict[str, Any]
_ROOT = Path(__file__).parent.parent
_PACKAGES = ("torch", "torch_geometric", "numpy", "timm", "torch_cluster")


def provenance(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Date, commit, machine and versions of a run."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "settings": dict(settings),
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, lists of numbers on one line."""
    text = json.dumps(results, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, aligned to be read as text too; empty cells for ``None``."""
    cells = [list(columns), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def speed_table(rows: Sequence[Row]) -> str:
    """Every subject of every case."""
    keys = ("model", "mode", "batch", "size", "dtype", "malloc", "subject")
    measured = (
        [1e3 * row["median"], row["images_per_second"], _times(row["speedup"]), _percent(row["share_of_products"])]
        for row in rows
    )
    return _keyed_table(rows, keys, ("ms", "images/s", f"x {OFFICIAL}", f"of {PRODUCTS}' speed"), measured)


def memory_table(rows: Sequence[Row]) -> str:
    """Peak beyond the loaded model, and its ratio to the official code's."""
    load = ("model", "mode", "batch", "size", "dtype")
    official = {tuple(row[key] for key in load): row["peak_mib"] for row in rows if row["subject"] == OFFICIAL}
    baselines = (official.get(tuple(row[key] for key in load)) for row in rows)
    measured = (
        [row["peak_mib"], _percent(row["peak_mib"] / baseline) if baseline else None]
        for row, baseline in zip(rows, baselines, strict=True)
    )
    return _keyed_table(rows, (*load, "subject"), ("peak MiB", f"of {OFFICIAL}"), measured)


def parts_table(rows: Sequence[Row]) -> str:
    """Every part in each formulation."""
    measured = ([1e3 * row["median"], _times(row["speedup"])] for row in rows)
    return _keyed_table(rows, ("part", "shape", "batch", "step", "subject"), ("ms", "x dense"), measured)


def scaling_table(rows: Sequence[Row]) -> str:
    """The cost of k-NN."""
    measured = ([row["median"], row["peak_mib"]] for row in rows)
    return _keyed_table(rows, ("curve", "nodes", "k", "channels", "subject"), ("seconds", "peak MiB"), measured)


def profile_table(rows: Sequence[Row]) -> str:
    """Milliseconds a batch, and shares of the categories."""
    totals = [sum(row["milliseconds"].values()) for row in rows]
    measured = (
        [total, *(f"{value:.1f} ({value / total:.0%})" for value in row["milliseconds"].values())]
        for row, total in zip(rows, totals, strict=True)
    )
    return _keyed_table(rows, ("model", "batch", "subject"), ("ms", *rows[0]["milliseconds"]), measured)


def agreement_table(rows: Sequence[Row]) -> str:
    """How far our logits lie from the official ones."""
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


def _times(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _commit() -> str | None:
    """The commit of the working tree, marked where the code differs from it."""
    git = ["git", "-C", str(_ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "pyg_vig", "benchmarks/*.py"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}, modified" if changed.stdout else head


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
