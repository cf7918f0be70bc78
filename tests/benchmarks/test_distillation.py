from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("lightning")
pytest.importorskip("sklearn")

from benchmarks import distillation


def test_students_with_and_without_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "TEACHER", {"model": "vig_nano", "options": {"depth": 1}, "epochs": 1})
    monkeypatch.setitem(distillation.STUDENT, "limit", 40)
    output = tmp_path / "distillation.json"
    distillation.main(["--seeds", "1", "--epochs", "1", "--output", str(output)])
    results = json.loads(output.read_text())
    assert results["settings"] == {"seeds": 1, "epochs": 1}
    assert results["teacher"]["accuracy"] > 0.1
    assert {name: len(entry["runs"]) for name, entry in results["accuracy"].items()} == {
        "labels alone": 1,
        "labels and teacher": 1,
    }
