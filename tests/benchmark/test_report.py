from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyg_vig.benchmark import provenance, write


def test_paths_of_this_machine_are_no_settings() -> None:
    results = provenance({"rounds": 3, "output": Path("results.json"), "root": Path("data")})
    assert results["settings"] == {"rounds": 3}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "results" / "speed.json"
    write(str(file), {"seconds": [1, 2]})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write(file, {"seconds": object()})
    assert json.loads(file.read_text()) == {"seconds": [1, 2]}
    assert [entry.name for entry in file.parent.iterdir()] == ["speed.json"]
