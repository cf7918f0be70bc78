"""Plots of a results file."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import matplotlib

from pyg_vig.benchmark.report import Row

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.networks import OFFICIAL
from pyg_vig.benchmark.networks import PRODUCTS


def plot_results(results: Mapping[str, Any], path: Path) -> list[Path]:
    """Plot the results as ``NAME_speed.png`` and ``NAME_scaling.png`` next to ``path``; return the files drawn."""
    drawn = []
    for kind, draw in (("speed", _speed), ("scaling", _scaling)):
        if results.get(kind):
            target = path.with_name(f"{path.stem}_{kind}.png")
            figure = draw(results[kind])
            figure.savefig(target, dpi=150, bbox_inches="tight")
            plt.close(figure)
            drawn.append(target)
    return drawn


def _speed(rows: list[Row]) -> plt.Figure:
    """Plot images per second by subject, with a panel for every case."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        load = f"{row['size']} px, batch {row['batch']}, {row['dtype']}, malloc {row['malloc']}"
        panels.setdefault(f"{row['model']}, {row['mode']}\n{load}", []).append(row)
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(3.4 * across, 2.6 * down), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, cells) in zip(axes.flat, panels.items(), strict=False):
        names = [cell["subject"] for cell in cells]
        bars = axis.barh(names, [cell["images_per_second"] for cell in cells], color=[_color(name) for name in names])
        axis.bar_label(bars, [f"{cell['images_per_second']:.3g}" for cell in cells], padding=2, fontsize=8)
        axis.set(title=title, xlabel="images/s")
        axis.title.set_fontsize(8)
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _color(subject: str) -> str:
    return {OFFICIAL: "0.6", PRODUCTS: "0.85"}.get(subject, "tab:blue")


def _scaling(rows: list[Row]) -> plt.Figure:
    """Plot seconds and peak memory of k-NN over the number of nodes and over k."""
    curves = sorted({row["curve"] for row in rows}, reverse=True)
    on_cpu = all(row["cpu_seconds"] is not None for row in rows)  # CPU time depends little on other load
    quantities = {"cpu_seconds": "CPU seconds"} if on_cpu else {"median": "seconds"}
    quantities["peak_mib"] = "peak memory beyond the input, MiB"
    figure, axes = plt.subplots(len(curves), 2, figsize=(8, 3.2 * len(curves)), squeeze=False, layout="constrained")
    for pair, curve in zip(axes, curves, strict=True):
        cells = [row for row in rows if row["curve"] == curve]
        for axis, (quantity, label) in zip(pair, quantities.items(), strict=True):
            _draw_curve(axis, cells, curve, quantity)
            axis.set(xlabel=curve, ylabel=label)
            axis.legend(frameon=False)
    return figure


def _draw_curve(axis: Axes, rows: list[Row], x: str, y: str) -> None:
    for subject in dict.fromkeys(row["subject"] for row in rows):
        points = [(row[x], row[y]) for row in rows if row["subject"] == subject and row[y] > 0]
        axis.plot(*zip(*points, strict=True), marker="o", label=subject)
    ticks = sorted({row[x] for row in rows})
    low, high = (log10(bound(row[y] for row in rows if row[y] > 0)) for bound in (min, max))
    axis.set(xscale="log", yscale="log", ylim=(10 ** floor(low), 10 ** ceil(high)))
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8, rotation=30 if max(ticks) > 9999 else 0)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
