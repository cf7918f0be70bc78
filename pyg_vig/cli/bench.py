"""``pyg-vig bench``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import torch

from pyg_vig.benchmark import Case, measure_memory, measure_profile, measure_speed, provenance, table, write
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED, PRODUCTS
from pyg_vig.benchmark.profiling import profile_table
from pyg_vig.benchmark.report import Row
from pyg_vig.cli.errors import user_errors
from pyg_vig.models import build_model, get_config

_KEY_COLUMNS = ("model", "mode", "batch", "size", "dtype", "subject")


def run(arguments: Sequence[str]) -> None:
    """Measure, print a table and, if requested, write the results to a file."""
    options = _build_parser().parse_args(arguments)
    with user_errors("bench"):
        _check_options(options)
        cases = list(_build_cases(options))
    measure, format_table = (_measure_profile, profile_table) if options.profile else (_measure_speed, _speed_table)
    results = provenance(vars(options))
    results["profile" if options.profile else "speed"] = rows = []
    for row in measure(cases, options):
        rows.append(row)
        if options.json:  # after every row, so that an interrupted run keeps its results
            with user_errors("bench"):
                write(options.json, results)
    print(format_table(rows))
    if options.json:
        print(f"results {options.json}")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyg-vig bench",
        description="Time networks with random weights in interleaved rounds, compare them with their bare matrix "
        "products, and measure their peak memory beyond the loaded model; or profile them.",
    )
    add = parser.add_argument
    add("networks", nargs="+", metavar="NAME", help="names (see pyg-vig models)")
    add("--batch", nargs="+", type=int, default=[8], metavar="N", help="batch size (default: 8)")
    add("--image-size", nargs="+", type=int, metavar="N", help="image side in pixels (default: the network's)")
    add("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"], help="(default: float32)")
    add("--modes", nargs="+", default=[EAGER, FUSED], choices=[EAGER, FUSED, COMPILED], help="(default: eager fused)")
    add("--train", action="store_true", help="also time training steps (not of fused networks)")
    add("--device", default="cpu", choices=["cpu", "cuda"], help="(default: cpu)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="CPU threads (default: all)")
    add("--rounds", type=int, default=8, metavar="N", help="timings of each network and mode (default: 8)")
    add("--profile", action="store_true", help="profile a forward pass: graph, aggregation, linear layers, rest")
    add("--json", type=Path, metavar="FILE", help="write the results, with date, machine, versions and commit")
    return parser


def _check_options(options: argparse.Namespace) -> None:
    for name in options.networks:
        get_config(name)
    sizes = (options.rounds, options.threads, *options.batch, *(options.image_size or ()))
    if min(sizes) < 1:
        raise ValueError("--rounds, --threads, --batch and --image-size must be at least 1")
    if options.train and min(options.batch) < 2:
        raise ValueError("--train needs --batch of at least 2: batch norm cannot compute statistics of one image")
    if options.train and options.modes == [FUSED]:
        raise ValueError("--train needs eager or compiled in --modes: fused networks are for inference only")
    if options.profile and options.modes == [COMPILED]:
        raise ValueError("--profile needs eager or fused in --modes: compiled networks cannot be profiled")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda needs a GPU, and PyTorch finds none: use --device cpu")


def _build_cases(options: argparse.Namespace) -> Iterator[Case]:
    for name, dtype, batch in product(options.networks, options.dtype, options.batch):
        for size in options.image_size or [get_config(name).image_size]:
            with torch.no_grad():  # an unsuitable image size raises before anything is measured
                build_model(get_config(name)).eval()(torch.zeros(1, 3, size, size))
            yield Case(name, None, batch, size, dtype, options.device, options.threads)


def _measure_speed(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[Row]:
    for case, mode in product(cases, ["inference", "training"] if options.train else ["inference"]):
        subjects = [name for name in options.modes if mode == "inference" or name != FUSED]
        _show_progress(f"{case.label} {mode}")
        for row in measure_speed(case, mode, subjects, options.rounds):
            _show_progress(f"{case.label} {mode} {row['subject']} memory")
            peak = None if row["subject"] == PRODUCTS else measure_memory(case, mode, row["subject"])["peak_mib"]
            yield {**row, "peak_mib": peak}
    _show_progress("")


def _measure_profile(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[Row]:
    for case, subject in product(cases, options.modes):
        if subject != COMPILED:
            _show_progress(f"{case.label} {subject}")
            yield measure_profile(case, subject, options.rounds)
    _show_progress("")


def _speed_table(rows: Sequence[Row]) -> str:
    columns, lines = ("ms", "images/s", f"speed vs {PRODUCTS}", "peak MiB"), []
    for row in rows:
        peak = None if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        cells = (f"{1e3 * row['median']:.1f}", f"{row['images_per_second']:.0f}", f"{row['share_of_products']:.0%}")
        lines.append([*(row[key] for key in _KEY_COLUMNS), *cells, peak])
    return table([*_KEY_COLUMNS, *columns], lines)


def _show_progress(text: str) -> None:
    """Show what is being measured, on a line that the next one overwrites, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
