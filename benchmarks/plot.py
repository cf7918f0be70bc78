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

_CURVE_LABELS = {"nodes": "number of nodes", "k": "number of neighbours k"}


def plot_results(results: Mapping[str, Any], path: Path) -> list[Path]:
    """Plot the results as ``NAME_speed.png`` and ``NAME_scaling.png`` next to ``path``; return the files drawn."""
    files = []
    for section, draw in (("speed", _plot_speed), ("scaling", _plot_scaling)):
        if results.get(section):
            file = path.with_name(f"{path.stem}_{section}.png")
            figure = draw(results[section])
            figure.savefig(file, dpi=150, bbox_inches="tight")
            plt.close(figure)
            files.append(file)
    return files


def _plot_speed(rows: list[Row]) -> plt.Figure:
    """Plot images per second by subject, with a panel for every case."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        load = f"{row['size']} px, batch {row['batch']}, {row['dtype']}, malloc {row['malloc']}"
        panels.setdefault(f"{row['model']}, {row['mode']}\n{load}", []).append(row)
    num_columns = min(4, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figsize = (3.4 * num_columns, 2.6 * num_rows)
    figure, axes = plt.subplots(num_rows, num_columns, figsize=figsize, squeeze=False, layout="constrained")
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, panel_rows) in zip(axes.flat, panels.items(), strict=False):
        names = [row["subject"] for row in panel_rows]
        bars = ax.barh(names, [row["images_per_second"] for row in panel_rows], color=[_color(name) for name in names])
        ax.bar_label(bars, [f"{row['images_per_second']:.3g}" for row in panel_rows], padding=2, fontsize=8)
        ax.set(title=title, xlabel="images per second")
        ax.title.set_fontsize(8)
        ax.invert_yaxis()
        ax.margins(x=0.2)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _color(subject: str) -> str:
    return {OFFICIAL: "0.6", PRODUCTS: "0.85"}.get(subject, "tab:blue")


def _plot_scaling(rows: list[Row]) -> plt.Figure:
    """Plot seconds and peak memory of k-NN over the number of nodes and over k."""
    curves = sorted({row["curve"] for row in rows}, reverse=True)
    on_cpu = all(row["cpu_seconds"] is not None for row in rows)  # CPU time depends little on other load
    quantities = {"cpu_seconds": "CPU time (s)"} if on_cpu else {"median": "time (s)"}
    quantities["peak_mib"] = "peak memory besides the input (MiB)"
    figure, axes = plt.subplots(len(curves), 2, figsize=(8, 3.2 * len(curves)), squeeze=False, layout="constrained")
    for axes_pair, curve in zip(axes, curves, strict=True):
        curve_rows = [row for row in rows if row["curve"] == curve]
        for ax, (quantity, label) in zip(axes_pair, quantities.items(), strict=True):
            _draw_curve(ax, curve_rows, curve, quantity)
            ax.set(xlabel=_CURVE_LABELS[curve], ylabel=label)
            ax.legend(frameon=False)
    return figure


def _draw_curve(ax: Axes, rows: list[Row], x: str, y: str) -> None:
    for subject in dict.fromkeys(row["subject"] for row in rows):
        points = [(row[x], row[y]) for row in rows if row["subject"] == subject and row[y] > 0]
        ax.plot(*zip(*points, strict=True), marker="o", label=subject)
    ticks = sorted({row[x] for row in rows})
    low, high = (log10(bound(row[y] for row in rows if row[y] > 0)) for bound in (min, max))
    ax.set(xscale="log", yscale="log", ylim=(10 ** floor(low), 10 ** ceil(high)))
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8, rotation=30 if max(ticks) > 9999 else 0)
    ax.minorticks_off()
    ax.grid(alpha=0.3)
