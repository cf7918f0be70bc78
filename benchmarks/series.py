"""Resume an interrupted series of measurements from its results file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def load_finished_rows(
    file: Path | None, results: Mapping[str, Any], entry: str, ignored_settings: Collection[str]
) -> list[dict[str, Any]]:
    """Return the rows that ``file`` already holds; none if it does not exist.

    Args:
        file: results file of the series.
        results: :func:`pyg_vig.benchmark.provenance` of this call.
        entry: name of the entry with the rows.
        ignored_settings: settings that may differ from those in the file, because every row records them or they
            affect no row.

    Raises:
        SystemExit: if the file was measured with other settings, code or versions, or on another machine: its rows
            would be mislabelled or lost.
    """
    if file is None or not file.exists():
        return []
    saved = json.loads(file.read_text())
    here, there = _conditions(results, ignored_settings), _conditions(saved, ignored_settings)
    differing = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if differing:
        raise SystemExit(f"{file} was measured under other conditions ({', '.join(differing)}): pass another --output")
    return saved[entry]


def _conditions(results: Mapping[str, Any], ignored_settings: Collection[str]) -> dict[str, Any]:
    machine = {name: value for name, value in results["machine"].items() if name != "load_before"}
    settings = {name: value for name, value in results["settings"].items() if name not in ignored_settings}
    return {"commit": results["commit"], **machine, **results["versions"], **settings}
