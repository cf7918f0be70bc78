"""Series of measurements that go on in the file where they were interrupted."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def rows_so_far(
    file: Path | None, results: Mapping[str, Any], rows: str, free: Collection[str]
) -> list[dict[str, Any]]:
    """Rows that ``file`` holds already; none where it does not exist.

    Args:
        file: of the series.
        results: what :func:`pyg_vig.benchmark.provenance` says of this call.
        rows: name of the entry with the rows.
        free: settings that may differ from those in the file, since every row says them of itself or they change none.

    Raises:
        SystemExit: the file was measured with other settings, code or versions, or on another machine: its rows would
            be taken for what they are not, or be lost.
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
