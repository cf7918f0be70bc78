from __future__ import annotations

import os

import pytest
import torch

from pyg_vig.benchmark import (
    MALLOC,
    Case,
    in_fresh_process,
    measure_memory,
    measure_profile,
    measure_speed,
    peak_beyond,
)
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.networks import build, build_subjects

NANO = Case("vig_nano", batch=2, size=32, threads=1)


@pytest.fixture
def measure_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: fresh ones take seconds to start, and one test that uses them is enough."""
    for part in ("speed", "memory", "profiling"):
        monkeypatch.setattr(f"pyg_vig.benchmark.{part}.in_fresh_process", lambda run, malloc, *rest: run(*rest))


def test_fresh_process_has_exactly_the_chosen_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    for key, value in MALLOC["tuned"].items():
        assert in_fresh_process(os.getenv, "tuned", key) == value
    assert in_fresh_process(os.getenv, "default", "MALLOC_ARENA_MAX") is None
    assert os.environ["MALLOC_ARENA_MAX"] == "1"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ


def test_peak_is_what_the_run_holds_at_once() -> None:
    def run() -> None:
        for _ in range(3):
            torch.ones(64 * MIB // 4)

    assert 50 < peak_beyond(run) / MIB < 110  # one tensor at a time, with some noise from other allocations


def test_subjects_of_a_network_run() -> None:
    forward = build_subjects(NANO, "inference", ["eager", "fused"])
    for name in ("eager", "fused"):
        scores = forward[name]()
        assert scores.shape == (2, 10) and not scores.requires_grad
    step = build_subjects(NANO, "training", ["eager"])
    step["eager"]()
    assert step["products"].flops > 2.9 * forward["products"].flops  # backward has two products per forward product


def test_networks_with_two_classifiers_are_trained() -> None:
    build_subjects(Case("mobilevig_ti", batch=2, size=64, threads=1), "training", ["eager"])["eager"]()


@pytest.mark.parametrize(
    ("subject", "training", "message"),
    [("folded", False, "got 'folded'"), ("fused", True, "a fused network cannot be trained")],
)
def test_subjects_that_do_not_exist(subject: str, training: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(NANO, subject, training)


def test_the_published_conv_is_not_named() -> None:
    assert Case("vig_ti", "max_relative").label == Case("vig_ti").label == "vig_ti"
    assert Case("attention_vig_s", "max_relative").label == "attention_vig_s, max_relative"


@pytest.mark.usefixtures("measure_in_this_process")
def test_speedup_and_share_refer_to_the_same_rounds() -> None:
    rows = measure_speed(NANO, "inference", ["eager", "fused"], rounds=3)
    assert [row["subject"] for row in rows] == ["eager", "fused", "products"]
    eager, fused, products = rows
    assert eager["speedup"] == products["share_of_products"] == 1
    assert fused["images_per_second"] == pytest.approx(2 / fused["median"])
    assert {row["malloc"] for row in rows} == {"default"}


@pytest.mark.usefixtures("measure_in_this_process")
def test_memory_grows_with_the_batch() -> None:
    small, large = (
        measure_memory(Case("vig_nano", None, batch, 64, threads=1), "training", "eager") for batch in (2, 32)
    )
    assert 0 < 4 * small["peak_mib"] < large["peak_mib"]


@pytest.mark.usefixtures("measure_in_this_process")
def test_profile_finds_every_part_of_a_fused_network() -> None:
    milliseconds = measure_profile(NANO, rounds=2)["milliseconds"]
    assert list(milliseconds) == ["graph", "aggregation", "linear", "rest"]
    assert min(milliseconds.values()) > 0
