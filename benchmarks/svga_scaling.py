"""Cost of SVGA's aggregation over the image size, with the step scaled accordingly, compared to rolling the map.

Times are per image, in batches with about the same number of pixels at every size: otherwise small batches would run
from the cache, and large ones would include glibc's page faults. ``--batch`` fixes the number of images instead.

``python -m benchmarks.svga_scaling --output benchmarks/results/svga_scaling.json``
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_vig.benchmark import MALLOC, Timings, in_fresh_process, interleave, provenance, table, write
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.timing import Subject
from pyg_vig.graph import Layout, SVGAGraph, neighbor_max, to_map
from pyg_vig.nn import CrossAttentionConv

SIZES = (224, 448, 672, 896, 1024)  # pixels
PIXELS = SIZES[-1] ** 2  # per batch
CHANNELS, STRIDE = 48, 4  # of greedyvig_s's first stage
OURS, ROLLED, ATTENTION = "pyg_vig, maximum", "rolled, maximum", "pyg_vig, CrossAttentionConv"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure all sizes, print the table, and write results and plot to ``--output`` if it is given."""
    options = parse(arguments)
    results = provenance(vars(options))
    results["svga_scaling"] = [
        {"malloc": malloc, **row}
        for malloc in options.malloc
        for row in in_fresh_process(_measure, malloc, options.sizes, options.batch, options.threads, options.rounds)
    ]
    print(scaling_table(results["svga_scaling"]))
    for malloc in options.malloc:
        print(f"malloc {malloc}: exponents of time over pixels:", exponents(results["svga_scaling"], malloc))
    if options.output:
        write(options.output, results)
        plot(results["svga_scaling"], options.output.with_suffix(".png"))
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.svga_scaling", description=__doc__)
    add = parser.add_argument
    add("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N", help="sides of the images in pixels")
    add("--batch", type=int, metavar="N", help=f"batch size (default: images for about {PIXELS:,} pixels)")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--rounds", type=int, default=9, help="number of rounds of the comparison")
    add("--malloc", nargs="+", default=list(MALLOC), choices=list(MALLOC), help="settings of glibc's malloc")
    add("--output", type=Path, metavar="FILE.json", help="write the results here, and the plot to FILE.png")
    return parser.parse_args(arguments)


def scaled_step(side: int) -> int:
    """Return the largest step that divides the side into at least 7 steps, as published networks have at 224 pixels."""
    return max(step for step in range(1, max(side // 7, 1) + 1) if side % step == 0)


def build_subjects(size: int, batch: int) -> dict[str, Subject]:
    """Return each formulation on the same features in its own memory layout, including the graph construction."""
    side = size // STRIDE
    step = scaled_step(side)
    layout = Layout.from_grid(batch, side, side)
    rows = torch.randn(layout.num_nodes, CHANNELS)
    feature_map = to_map(rows, layout).contiguous()
    with_loop, without_loop = SVGAGraph(step, loop=True), SVGAGraph(step)
    conv = CrossAttentionConv(CHANNELS, CHANNELS).eval()
    return {
        OURS: lambda: neighbor_max(-rows, with_loop(rows, layout)) + rows,
        ROLLED: partial(rolled_relative, feature_map, step),
        ATTENTION: lambda: conv(rows, without_loop(rows, layout)),
    }


def rolled_relative(x: Tensor, step: int) -> Tensor:
    """Maximum of zero and the differences to patches multiples of ``step`` away, as published: a roll per distance."""
    largest = torch.zeros_like(x)
    for axis in (2, 3):
        for distance in range(step, x.size(axis), step):
            largest = torch.maximum(largest, x - x.roll(distance, axis))
    return largest


@torch.no_grad()
def _measure(sizes: Sequence[int], batch: int | None, threads: int, rounds: int) -> list[Row]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batches = {size: batch or max(1, round(PIXELS / size**2)) for size in sizes}
    subjects = {(size, name): run for size in sizes for name, run in build_subjects(size, batches[size]).items()}
    timings = interleave({f"{size} {name}": run for (size, name), run in subjects.items()}, rounds)
    return [_row(timings, size, name, batches) for size, name in subjects]


def _row(timings: Timings, size: int, name: str, batches: dict[int, int]) -> Row:
    key, smallest = f"{size} {name}", min(batches)
    pixels, smallest_pixels = batches[size] * size**2, batches[smallest] * smallest**2
    slowdown = 1 / (timings.speedup(key, f"{smallest} {name}") or math.nan)
    return {
        "size": size,
        "step": scaled_step(size // STRIDE),
        "batch": batches[size],
        "subject": name,
        "median_per_image": timings.median(key) / batches[size],
        "growth_over_pixels": slowdown * smallest_pixels / pixels,
        "x_rolled": timings.speedup(key, f"{size} {ROLLED}"),
        "seconds": timings.seconds[key],
    }


def scaling_table(rows: Iterable[Row]) -> str:
    """Format times per image, their ratio to linear growth from the smallest image, and the speed-up over rolling."""
    columns = ("malloc", "pixels", "step", "batch", "subject", "ms per image", "of linear growth", "x rolled")
    lines = []
    for row in rows:
        ratios = (f"{row[key]:.2f}" for key in ("growth_over_pixels", "x_rolled"))
        case = (row["malloc"], f"{row['size']}²", row["step"], row["batch"], row["subject"])
        lines.append([*case, 1e3 * row["median_per_image"], *ratios])
    return table(columns, lines)


def exponents(rows: Iterable[Row], malloc: str) -> dict[str, float]:
    """Fit the slope of log time over log pixels for every subject by least squares."""
    slopes = {}
    for name in (OURS, ROLLED, ATTENTION):
        points = [row for row in rows if row["subject"] == name and row["malloc"] == malloc]
        x = torch.tensor([2 * math.log(row["size"]) for row in points])
        y = torch.tensor([math.log(row["median_per_image"]) for row in points])
        centered = x - x.mean()
        slopes[name] = round(float((centered * y).sum() / centered.square().sum()), 3)
    return slopes


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot time over pixels, a panel for each malloc setting, with lines of linear growth from the smallest image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys(row["malloc"] for row in rows))
    figure, axes = plt.subplots(1, len(settings), figsize=(4.6 * len(settings), 3.8), squeeze=False, sharey=True)
    for ax, malloc in zip(axes[0], settings, strict=True):
        for name, color in zip((ROLLED, ATTENTION, OURS), ("0.5", "tab:orange", "tab:blue"), strict=True):
            points = [row for row in rows if row["subject"] == name and row["malloc"] == malloc]
            pixels = [row["size"] ** 2 for row in points]
            ax.plot(pixels, [1e3 * row["median_per_image"] for row in points], marker="o", color=color, label=name)
            linear = [1e3 * points[0]["median_per_image"] * count / pixels[0] for count in pixels]
            ax.plot(pixels, linear, linestyle=":", color=color, linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="image size (pixels)", title=f"malloc settings: {malloc}")
        ax.set_xticks(pixels, [f"{row['size']}²" for row in points], rotation=45, fontsize=8)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("time per image (ms); dotted: linear growth")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
