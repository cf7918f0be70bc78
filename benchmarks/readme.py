"""Writes the README's speed table from results: ``python -m benchmarks.readme RESULTS.json... README.md``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.networks import OFFICIAL
from pyg_vig.benchmark import table
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED

START, END = "<!-- speed -->", "<!-- /speed -->"
Row = dict[str, Any]
_KEYS = ("model", "mode", "batch", "size", "dtype", "threads")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the speed table of a README between its markers.")
    parser.add_argument("results", type=Path, nargs="+", help="files of python -m benchmarks --output, of one machine")
    parser.add_argument("readme", type=Path, help=f"text with the lines {START} and {END}")
    options = parser.parse_args()
    results = joined([json.loads(path.read_text()) for path in options.results])
    options.readme.write_text(insert(options.readme.read_text(), speed_section(results)))


def joined(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of all results, described as the first is.

    Raises:
        ValueError: if they are not of one machine, with the same versions.
    """
    first = results[0]
    for other in results[1:]:
        for name in ("cpu", "cores", "gpu"):
            if other["machine"][name] != first["machine"][name]:
                raise ValueError(f"results of two machines: {first['machine'][name]} and {other['machine'][name]}")
        if other["versions"] != first["versions"]:
            raise ValueError(f"results with two sets of versions: {first['versions']} and {other['versions']}")
    rows = {section: [row for part in results for row in part.get(section, [])] for section in ("speed", "memory")}
    return {**first, **rows}


def insert(text: str, section: str) -> str:
    """Replace what lies between the markers.

    Raises:
        ValueError: if the text does not hold both markers, once each, in order.
    """
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"expected one line {START} and, after it, one line {END}")
    before, rest = text.split(START)
    return f"{before}{START}\n{section}\n{END}{rest.split(END)[1]}"


def speed_section(results: Mapping[str, Any]) -> str:
    """The table, and a line that says what it was measured on."""
    columns = ["network", "mode", "official ms", "eager", "fused", "compiled"]
    columns += ["malloc tuned: official ms", "best of ours", "of products' speed", "peak memory"]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in results["speed"]:
        groups.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
    memory = {(*(row[key] for key in _KEYS), row["subject"]): row["peak_mib"] for row in results.get("memory", [])}
    rows = [_line(case, group, memory) for case, group in groups.items()]
    return f"{table(columns, rows)}\n\n{_caption(results, list(groups))}"


def _line(case: tuple[Any, ...], rows: list[Row], memory: Mapping[tuple[Any, ...], float]) -> list[str | None]:
    """One case: our speed as a multiple of the official code's, under both settings of the allocator."""
    default, tuned = (
        {row["subject"]: row for row in rows if row["malloc"] == malloc} for malloc in ("default", "tuned")
    )
    ours = [name for name in (EAGER, FUSED, COMPILED) if name in default]
    shares = [default[name]["share_of_products"] for name in ours]
    best_tuned = [tuned[name]["speedup"] for name in ours if name in tuned and tuned[name]["speedup"]]
    peaks = [memory[(*case, name)] for name in ours if (*case, name) in memory]
    official_peak = memory.get((*case, OFFICIAL))
    return [
        case[0],
        case[1],
        _milliseconds(default.get(OFFICIAL)),
        *(_times(default[name]["speedup"]) if name in default else None for name in (EAGER, FUSED, COMPILED)),
        _milliseconds(tuned.get(OFFICIAL)),
        _times(max(best_tuned)) if best_tuned else None,
        f"{max(shares):.0%}" if shares else None,
        f"{min(peaks) / official_peak:.0%}" if peaks and official_peak else None,
    ]


def _caption(results: Mapping[str, Any], cases: list[tuple[Any, ...]]) -> str:
    machine, versions = results["machine"], results["versions"]
    on_gpu = any(row["device"] == "cuda" for row in results["speed"])
    hardware = machine["gpu"] if on_gpu else f"{machine['cpu']} with {machine['cores']} cores"
    loads = sorted({f"batch {case[2]} at {case[3]} x {case[3]}, {case[4]}, {case[5]} threads" for case in cases})
    return (
        f"Median of interleaved rounds; {'; '.join(loads)}; {hardware}, PyTorch "
        f"{versions['torch']}, {results['date'][:10]}. Speed and peak memory relative to the official code in the same "
        f"run. Products: the network's own matrix products and convolutions with nothing between them."
    )


def _milliseconds(row: Row | None) -> str | None:
    return None if row is None else f"{1e3 * row['median']:.0f}"


def _times(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} x"


if __name__ == "__main__":
    main()
