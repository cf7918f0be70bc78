from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "model_table.py"


@pytest.mark.slow
def test_tables_take_the_place_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- models -->\nold\n<!-- /models -->\nafter\n")
    monkeypatch.setattr("sys.argv", ["model_table.py", str(page)])
    monkeypatch.setattr("pyg_vig.models.list_models", lambda: ["vig_nano", "vig_ti"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    text = page.read_text()
    assert text.startswith("before\n<!-- models -->\n")
    assert text.endswith("<!-- /models -->\nafter\n")
    assert "old" not in text
    assert "| `vig_ti` | 7,184,744 | 1.30 G | 7.1 M | 1.3 G | 73.9 % |" in text
    assert "| `edge` | 7,184,744 | 2.35 G | 1.30 G | 7.2 M | 2.4 G | 74.3 % |" in text
