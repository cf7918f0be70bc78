"""Command line of the benchmarks: ``make bench ARGS="--reference DIR"`` or ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pyg_vig
from benchmarks.agreement import measure_agreement
from benchmarks.case import Case
from benchmarks.networks import OFFICIAL, TIMM, build, graphers
from benchmarks.parts import measure_parts
from benchmarks.reference import CONVS, NETWORKS
from benchmarks.report import TABLES
from benchmarks.scaling import NODES, measure_scaling
from pyg_vig.benchmark import MALLOC, measure_memory, measure_profile, measure_speed, provenance, write
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED
from pyg_vig.benchmark.report import Row


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the requested measurements, print the results, and write them to ``--output`` if it is given."""
    options = parse(arguments)
    results = provenance({**vars(options), "reference": bool(options.reference)})
    sections = {
        "agreement": agreement_rows,
        "speed": speed_rows,
        "memory": memory_rows,
        "parts": parts_rows,
        "scaling": scaling_rows,
        "profile": profile_rows,
    }
    for section in selected_sections(options):
        results[section] = list(_with_progress(section, sections[section](options)))
        print(f"\n{section}\n{TABLES[section](results[section])}", flush=True)
        if options.output:  # after every section, so that an interrupted run keeps its results
            write(options.output, results)
    if options.output:
        from benchmarks.plot import plot_results

        print("\nwrote:", *[options.output, *plot_results(results, options.output)])
    return results


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory of pyg_vig.")
    add = parser.add_argument
    add("--reference", nargs="+", default=[], metavar="DIR", help="folders with the official code, such as vig_pytorch")
    add("--models", nargs="+", default=["vig_ti", "pvig_ti"], choices=pyg_vig.list_models(), metavar="NAME")
    add("--conv", nargs="+", default=[None], metavar="NAME", help="graph convs to use instead of the published ones")
    add("--batch", nargs="+", type=int, default=[8], metavar="N", help="batch sizes")
    add("--size", nargs="+", type=int, default=[224], metavar="N", help="sides of the images in pixels")
    add("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16", "float16"])
    add("--threads", type=int, default=2, help="CPU threads")
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--rounds", type=int, default=8, help="rounds of every comparison")
    add("--train", action=argparse.BooleanOptionalAction, default=True, help="also time training steps")
    add("--memory", action=argparse.BooleanOptionalAction, default=True, help="also measure peak memory")
    add("--malloc", nargs="+", default=list(MALLOC), choices=list(MALLOC), help="settings of glibc's malloc")
    add("--compile", action="store_true", help="also time networks compiled with torch.compile (takes minutes)")
    add("--timm", action="store_true", help="also time timm networks of similar cost")
    add("--parts", action="store_true", help="measure single parts instead of networks: k-NN, convs, pooling")
    add("--scaling", action="store_true", help="measure k-NN over the number of nodes and over k instead of networks")
    add("--largest", type=int, default=NODES[-1], metavar="N", help="largest number of nodes for --scaling")
    add("--profile", action="store_true", help="measure shares of graph, aggregation, linear and rest instead")
    add("--output", type=Path, metavar="FILE.json", help="write the results here, with plots next to them")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads, *options.batch, *options.size) < 1:
        parser.error("--rounds, --threads, --batch and --size must be at least 1")
    if options.device == "cuda":
        options.malloc = ["default"]
    return options


def selected_sections(options: argparse.Namespace) -> list[str]:
    """Return the sections to run: the requested ones or, by default, speed and memory of networks."""
    requested = [section for section in ("parts", "scaling", "profile") if getattr(options, section)]
    if requested:
        return requested
    return ["agreement"] * bool(options.reference) + ["speed"] + ["memory"] * options.memory


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for model, conv, size, dtype, batch in product(
        options.models, options.conv, options.size, options.dtype, options.batch
    ):
        reference = tuple(options.reference) if conv in {None, *CONVS} and model in NETWORKS else ()
        yield Case(model, conv, batch, size, dtype, options.device, options.threads, reference)


def agreement_rows(options: argparse.Namespace) -> Iterator[Row]:
    seen = set()
    for case in cases(options):
        if case.reference and (case.label, case.size) not in seen:
            seen.add((case.label, case.size))
            yield measure_agreement(case)


def speed_rows(options: argparse.Namespace) -> Iterator[Row]:
    for malloc, case in product(options.malloc, list(cases(options))):
        for mode in _modes(case, options):
            names = _subjects(case, mode, options)
            yield from measure_speed(case, mode, names, options.rounds, malloc, baseline=OFFICIAL, build=build)


def memory_rows(options: argparse.Namespace) -> Iterator[Row]:
    for case in cases(options):
        for mode in _modes(case, options):
            for subject in _subjects(case, mode, options):
                yield measure_memory(case, mode, subject, build)


def parts_rows(options: argparse.Namespace) -> Iterator[Row]:
    for batch in options.batch:
        case = Case("", batch=batch, device=options.device, threads=options.threads)
        yield from measure_parts(case, options.rounds)


def scaling_rows(options: argparse.Namespace) -> Iterator[Row]:
    case = Case("", device=options.device, threads=options.threads)
    yield from measure_scaling(case, options.rounds, options.largest)


def profile_rows(options: argparse.Namespace) -> Iterator[Row]:
    for case in cases(options):
        for subject in [OFFICIAL] * bool(case.reference) + [FUSED]:
            yield measure_profile(case, subject, options.rounds, build=build, parts=graphers)


def _modes(case: Case, options: argparse.Namespace) -> list[str]:
    """Return the modes to measure; a batch of one image is not trained on, because batch norm needs two."""
    return ["inference", "training"] if options.train and case.batch > 1 else ["inference"]


def _subjects(case: Case, mode: str, options: argparse.Namespace) -> list[str]:
    """Return the networks to time in a mode; fused networks are for inference only."""
    names = [OFFICIAL] * bool(case.reference) + [EAGER] + [FUSED] * (mode == "inference") + [COMPILED] * options.compile
    return names + list(TIMM.get(case.model, ())) * options.timm


def _with_progress(section: str, rows: Iterable[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        print(f"\r{section}: {number} measured", end="", file=sys.stderr, flush=True)
        yield row
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
