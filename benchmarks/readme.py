"""Write the README's speed tables from results: ``python -m benchmarks.readme RESULTS.json... README.md``.

Results of ``python -m benchmarks`` fill the CPU table, those of ``python -m benchmarks.gpu`` the GPU table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyg_vig
from benchmarks.gpu import CAPTURED, COMPILED_GRAPHS
from benchmarks.networks import OFFICIAL, TIMM
from pyg_vig.benchmark import table
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED
from pyg_vig.benchmark.report import Row

SPEED, GPU = "speed", "gpu"  # sections of the results; their tables go between markers such as <!-- speed -->
_PRODUCTS = "Products: only the network's matrix products and convolutions, run by PyTorch."
_GPU_SUBJECTS = {EAGER: EAGER, FUSED: FUSED, CAPTURED: "CUDA graph", COMPILED_GRAPHS: COMPILED}  # and their columns
_GPU_KEYS = ("model", "mode", "batch", "dtype")
_KEYS = ("model", "mode", "batch", "size", "dtype", "threads")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the speed tables of a README between their markers.")
    parser.add_argument("results", type=Path, nargs="+", help="results of one machine, on its CPU or GPU")
    parser.add_argument("readme", type=Path, help="file with the lines <!-- speed --> and <!-- /speed -->, or gpu")
    options = parser.parse_args()
    results = merge_results([json.loads(path.read_text()) for path in options.results])
    text = options.readme.read_text()
    if results[SPEED]:
        text = replace_section(text, SPEED, speed_section(results))
    if results[GPU]:
        text = replace_section(text, GPU, gpu_section(results))
    options.readme.write_text(text)


def merge_results(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge rows and days of all results; everything else is taken from the first.

    Raises:
        ValueError: if the results come from different machines (for results of GPUs: different GPUs) or versions.
    """
    first = results[0]
    machine = ("gpu",) if first.get(GPU) else ("cpu", "cores", "gpu")
    for other in results[1:]:
        for name in machine:
            if other["machine"][name] != first["machine"][name]:
                values = f"{first['machine'][name]} and {other['machine'][name]}"
                raise ValueError(f"expected results of one machine, got different {name}: {values}")
        if other["versions"] != first["versions"]:
            raise ValueError(f"expected results of the same versions, got {first['versions']} and {other['versions']}")
    rows = {section: [row for part in results for row in part.get(section, [])] for section in (SPEED, "memory", GPU)}
    days = sorted({part["date"][:10] for part in results})
    return {**first, **rows, "date": " and ".join(days)}


def replace_section(text: str, name: str, section: str) -> str:
    """Replace the text between the markers of that name.

    Raises:
        ValueError: if the text does not hold both markers, once each, in order.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"expected one line {start} followed by one line {end}: add them to the text")
    before, after = text.split(start)
    return f"{before}{start}\n{section}\n{end}{after.split(end)[1]}"


def gpu_section(results: Mapping[str, Any]) -> str:
    """Return the GPU table and its caption."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in results[GPU]:
        if "error" not in row:
            groups.setdefault(tuple(row[key] for key in _GPU_KEYS), {})[row["subject"]] = row
    order = pyg_vig.list_models()  # by family and size
    cases = sorted(groups, key=lambda case: (case[1], order.index(case[0]), *case[2:]))
    columns = ["network", "mode", "images", "type", "official (ms)", *_GPU_SUBJECTS.values(), "speed vs products"]
    lines = [_gpu_line(case, groups[case]) for case in cases]
    machine, versions = results["machine"], results["versions"]
    caption = (
        f"Median of interleaved rounds at 224 x 224; {machine['gpu']}, PyTorch {versions['torch']}, "
        f"{results['date']}; float32 products run as TF32. Speed and peak memory are relative to the official "
        f"code in the same run. CUDA graph: captured once and replayed, without launch overhead on the host. Compiled: "
        f"by torch.compile, with CUDA graphs. "
        f"{_PRODUCTS} DeiT: timm's network of similar cost, both in a CUDA graph."
    )
    return f"{table([*columns, 'peak memory', 'speed vs DeiT'], lines)}\n\n{caption}"


def _gpu_line(case: tuple[Any, ...], rows: Mapping[str, Row]) -> list[str | int | None]:
    ours = [rows[name] for name in _GPU_SUBJECTS if name in rows]
    peaks = [row["peak_mib"] for row in ours if row["peak_mib"]]
    official = rows.get(OFFICIAL)
    return [
        *case,
        _format_milliseconds(official),
        *(_format_speedup(rows[name]["speedup"]) if name in rows else None for name in _GPU_SUBJECTS),
        f"{max(row['share_of_products'] for row in ours):.0%}" if ours else None,
        f"{min(peaks) / official['peak_mib']:.0%}" if peaks and official else None,
        _format_speedup(_speed_vs_deit(case[0], rows)),
    ]


def _speed_vs_deit(model: str, rows: Mapping[str, Row]) -> float | None:
    """Speed relative to timm's DeiT of similar cost, both in a CUDA graph."""
    for name in TIMM.get(model, ()):
        deit = rows.get(f"{name}, {CAPTURED}")
        if name.startswith("deit") and deit and CAPTURED in rows:
            return float(deit["median"] / rows[CAPTURED]["median"])
    return None


def speed_section(results: Mapping[str, Any]) -> str:
    """Return the CPU table and its caption."""
    columns = ["network", "mode", "official (ms)", "eager", "fused", "compiled"]
    columns += ["tuned malloc: official (ms)", "tuned malloc: our best", "speed vs products", "peak memory"]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in results["speed"]:
        groups.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
    memory = {(*(row[key] for key in _KEYS), row["subject"]): row["peak_mib"] for row in results.get("memory", [])}
    rows = [_cpu_line(case, group, memory) for case, group in groups.items()]
    return f"{table(columns, rows)}\n\n{_cpu_caption(results, list(groups))}"


def _cpu_line(case: tuple[Any, ...], rows: list[Row], memory: Mapping[tuple[Any, ...], float]) -> list[str | None]:
    """Return the line of a case: our speed relative to the official code, with both allocator settings."""
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
        _format_milliseconds(default.get(OFFICIAL)),
        *(_format_speedup(default[name]["speedup"]) if name in default else None for name in (EAGER, FUSED, COMPILED)),
        _format_milliseconds(tuned.get(OFFICIAL)),
        _format_speedup(max(best_tuned)) if best_tuned else None,
        f"{max(shares):.0%}" if shares else None,
        f"{min(peaks) / official_peak:.0%}" if peaks and official_peak else None,
    ]


def _cpu_caption(results: Mapping[str, Any], cases: list[tuple[Any, ...]]) -> str:
    machine, versions = results["machine"], results["versions"]
    hardware = f"{machine['cpu']} with {machine['cores']} cores"
    loads = sorted({f"batch {case[2]} at {case[3]} x {case[3]}, {case[4]}, {case[5]} threads" for case in cases})
    return (
        f"Median of interleaved rounds; {'; '.join(loads)}; {hardware}, PyTorch "
        f"{versions['torch']}, {results['date']}. Speed and peak memory are relative to the official code in the "
        f"same run. Tuned malloc: glibc keeps freed memory instead of returning it to the system. {_PRODUCTS}"
    )


def _format_milliseconds(row: Row | None) -> str | None:
    return None if row is None else f"{1e3 * row['median']:.0f}"


def _format_speedup(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} x"


if __name__ == "__main__":
    main()
