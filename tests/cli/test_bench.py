from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyg_vig.cli import main

QUICK = ["vig_nano", "--batch", "2", "--rounds", "1", "--threads", "1"]


def test_times_memory_and_bare_products_in_a_table_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results" / "nano.json"
    main(["bench", *QUICK, "--batch", "64", "--modes", "fused", "--json", str(file)])  # small batches allocate nothing
    heading, _, *rows = capsys.readouterr().out.splitlines()[:4]
    names = [cell.strip() for cell in heading.strip("|").split("|")]
    fused, products = (dict(zip(names, map(str.strip, row.strip("|").split("|")), strict=True)) for row in rows)
    assert (fused["subject"], products["subject"]) == ("fused", "products")
    assert fused["size"] == "32"
    assert float(fused["ms"]) > 0 < float(fused["peak MiB"])
    assert products["speed vs products"] == "100%"
    results = json.loads(file.read_text())
    assert {"date", "commit", "machine", "versions", "settings", "speed"} == set(results)
    assert len(results["speed"]) == 2
    assert str(tmp_path) not in file.read_text()


def test_profile_says_where_the_time_goes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    here = "pyg_vig.benchmark.profiling.in_fresh_process"  # a fresh process takes seconds to start
    monkeypatch.setattr(here, lambda run, malloc, *rest: run(*rest))
    main(["bench", *QUICK, "--modes", "fused", "--profile"])
    heading, _, row = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in heading.split("|")][-5:-1] == ["graph", "aggregation", "linear", "rest"]
    assert row.count("%") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("vig_mini", "unknown model 'vig_mini'"),
        ("vig_nano --batch 0", "must be at least 1"),
        ("vig_nano --batch 1 --train", "--train needs --batch of at least 2"),
        ("vig_nano --modes fused --train", "fused networks are for inference only"),
        ("vig_nano --modes compiled --profile", "compiled networks cannot be profiled"),
        ("vig_nano --image-size 4", "neighbours requested from a graph with 1"),
    ],
)
def test_mistakes_become_one_clear_line(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["bench", *options.split()])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
