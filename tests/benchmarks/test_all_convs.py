from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("sklearn")

from benchmarks import all_convs
from benchmarks.conv_tasks import TASKS, Batch, Task, digits
from pyg_vig.nn import GraphEncoder


def rings(root: object) -> Task:
    """Build a trivial task: tell apart two interleaved rings by their features, with given edges."""
    x = torch.randn(64, 3) + torch.tensor([2.0, -2.0]).repeat(32).view(64, 1)
    edges = torch.stack([torch.arange(64), (torch.arange(64) + 2) % 64])
    batch = Batch({"x": x, "edge_index": edges}, torch.tensor([0, 1] * 32))

    def training_batches() -> Iterator[Batch]:
        while True:
            yield batch

    def build(conv: str) -> torch.nn.Module:
        return GraphEncoder(3, 16, 2, depth=2, conv=conv, pool=None)

    return Task("rings", build, training_batches, [batch])


def test_every_conv_learns_and_all_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "cora", rings)
    output = tmp_path / "convs.json"
    all_convs.main(["--root", "x", "--tasks", "cora", "--steps", "15", "--output", str(output)])
    runs = json.loads(output.read_text())["runs"]
    assert len(runs) == 2 * 12
    assert {run["conv"] for run in runs} == {*all_convs.OURS, *all_convs.PYG}
    assert all(run["accuracy"] > 80 for run in runs)
    text = output.with_suffix(".md").read_text()
    assert all_convs.accuracy_table(runs) in text
    assert "`GATv2Conv`" in text
    assert "over 2 seeds" in text


def test_an_interrupted_series_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "cora", rings)
    arguments = ["--root", "x", "--tasks", "cora", "--convs", "gin", "edge", "--steps", "2"]
    arguments += ["--output", str(tmp_path / "convs.json")]
    first = all_convs.main([*arguments, "--seeds", "1"])["runs"]
    both = all_convs.main([*arguments, "--seeds", "2"])["runs"]
    assert both[:2] == first
    assert [run["seed"] for run in both] == [0, 0, 1, 1]


def test_digits_need_no_files(tmp_path):
    task = digits(tmp_path)
    torch.manual_seed(0)
    model = task.build("max_relative")
    all_convs.fit(model, task, 25)
    assert all_convs.evaluate(model, task) > 30
    assert not list(tmp_path.iterdir())


def test_table_has_a_mean_and_a_deviation_in_every_cell():
    runs = [{"task": task, "conv": "edge", "seed": seed, "accuracy": 80.0 + seed} for task in "ab" for seed in (0, 2)]
    assert all_convs.accuracy_table(runs[:3]).splitlines()[2].split("|")[2:4] == [" 81.0 ± 1.4 ", " 80.0 "]
