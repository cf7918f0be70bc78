"""Reports of benchmark runs: JSON files with their provenance, and tables."""

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

import pyg_vig
from pyg_vig.atomic import write_atomically

Row = dict[str, Any]  # a result: its case and its measurements

_ROOT = Path(pyg_vig.__file__).parents[1]
_PACKAGES = ("torch", "torch_geometric", "numpy", "timm", "torch_cluster")


def provenance(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the date, commit, machine, package versions and settings of a run.

    Args:
        settings: settings of the run, such as ``vars(options)``; paths are omitted, as they are machine-specific.

    Example:
        >>> from pyg_vig.benchmark import provenance
        >>> list(provenance({"rounds": 3}))
        ['date', 'commit', 'machine', 'versions', 'settings']
    """
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
        "settings": {name: value for name, value in settings.items() if not isinstance(value, Path)},
    }


def write(path: str | os.PathLike[str], results: Mapping[str, Any]) -> None:
    """Write results atomically as JSON, with lists of numbers on one line.

    Example:
        >>> from pathlib import Path
        >>> from pyg_vig.benchmark import write
        >>> write("results.json", {"seconds": [1.5, 2.5]})
        >>> print(Path("results.json").read_text())
        {
         "seconds": [ 1.5, 2.5 ]
        }
        <BLANKLINE>
    """
    text = json.dumps(results, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{text}\n".encode())


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table, aligned so that it is readable as plain text; ``None`` gives an empty cell.

    Example:
        >>> from pyg_vig.benchmark import table
        >>> print(table(["network", "ms"], [["vig_ti", 71.25]]))
        | network | ms    |
        | ------- | ----- |
        | vig_ti  | 71.25 |
    """
    cells = [list(columns), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _commit() -> str | None:
    """Return the commit of the working tree, marked if the code was modified; ``None`` for an installed package."""
    if not (_ROOT / ".git").exists():
        return None
    git = ["git", "-C", str(_ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        code = ("pyg_vig", "benchmarks/*.py", "examples/*.py")
        status = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}, modified" if status.stdout else head


def _cpu() -> str:
    """Return the CPU model with the vector instructions that PyTorch uses, as server model names say little."""
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{match[1] if match else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
