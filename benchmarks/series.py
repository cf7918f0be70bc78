"""Resume an interrupted series of measurements from its results file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def rows_so_far(
    file: Path | None, results: Mapping[str, Any], rows: str, free: Collection[str]
) -> list[dict[str, Any]]:
    """Return the rows that ``file`` already holds; none if it does not exist.

    Args:
        file: results file of the series.
        results: :func:`pyg_vig.benchmark.provenance` of this call.
        rows: name of the entry with the rows.
        free: settings that may differ from those in the file, because every row records them or they affect no row.

    Raises:
        SystemExit: if the file was measured with other settings, code or versions, or on another machine: its rows
            would be mislabelled or lost.
    """
    if file is None or not file.exists():
        return []
    before = json.loads(file.read_text())
    ours, theirs = _conditions(results, free), _conditions(before, free)
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if differing:
        raise SystemExit(f"{file} was measured with other conditions ({', '.join(differing)}): choose another --output")
    return before[rows]


def _conditions(results: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    machine = {name: value for name, value in results["machine"].items() if name != "load_before"}
    settings = {name: value for name, value in results["settings"].items() if name not in free}
    return {"commit": results["commit"], **machine, **results["versions"], **settings}
