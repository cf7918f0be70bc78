from __future__ import annotations

import json
from copy import deepcopy

import pytest

from benchmarks.series import load_finished_rows
from pyg_vig.benchmark import provenance


def make_results(**settings):
    return provenance({"steps": 3, "seeds": 1, **settings})


def load_rows(file, results):
    return load_finished_rows(file, results, "runs", ignored_settings=["seeds"])


def test_goes_on_where_it_stopped(tmp_path):
    file = tmp_path / "runs.json"
    assert load_rows(None, make_results()) == load_rows(file, make_results()) == []
    file.write_text(json.dumps({**make_results(), "runs": [{"seed": 0}]}))
    assert load_rows(file, make_results()) == [{"seed": 0}]
    assert load_rows(file, make_results(seeds=2)) == [{"seed": 0}]


def test_what_was_measured_otherwise_is_neither_mixed_in_nor_lost(tmp_path):
    file = tmp_path / "runs.json"
    file.write_text(json.dumps({**make_results(), "runs": [{"seed": 0}]}))
    before = file.read_text()
    with pytest.raises(SystemExit, match=r"runs.json was measured under other conditions \(steps\): pass another"):
        load_rows(file, make_results(steps=4))
    elsewhere = deepcopy(make_results())
    elsewhere["machine"]["gpu"] = "another"
    elsewhere["versions"]["torch"] = "1.0"
    with pytest.raises(SystemExit, match=r"\(gpu, torch\)"):
        load_rows(file, elsewhere)
    assert file.read_text() == before
