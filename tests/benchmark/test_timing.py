from __future__ import annotations

import time

import pytest

from pyg_vig.benchmark import Timings, interleave


def test_every_subject_runs_once_a_round_in_rotating_order() -> None:
    calls: list[str] = []
    subjects = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = interleave(subjects, rounds=3, warmup=1)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert [len(timings.seconds[name]) for name in "abc"] == [3, 3, 3]


def test_seconds_are_those_of_the_subject() -> None:
    timings = interleave({"sleep": lambda: time.sleep(0.02), "nothing": lambda: None}, rounds=2)
    assert timings.median("sleep") >= 0.02 > timings.median("nothing")


def test_speedup_pairs_the_rounds() -> None:
    timings = Timings({"slow": [2.0, 20.0, 4.0], "fast": [1.0, 10.0, 1.0]})  # the machine was busy in round 2
    assert timings.speedup("fast", "slow") == pytest.approx(2.0)
    assert timings.speedup("fast", "absent") is None
