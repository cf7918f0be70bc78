from __future__ import annotations

import os

import pytest
import torch

import pyg_vig
from benchmarks.case import Case
from benchmarks.memory import MIB, peak_beyond
from benchmarks.networks import inference, training
from benchmarks.process import MALLOC, in_fresh_process
from benchmarks.reference import build_official


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

    assert 60 < peak_beyond(run) / MIB < 90


def test_subjects_of_a_network_run() -> None:
    case = Case("vig_nano", batch=2, size=32, threads=1)
    forward = inference(case, ["eager", "fused"])
    for name in ("eager", "fused"):
        scores = forward[name]()
        assert scores.shape == (2, 10) and not scores.requires_grad
    step = training(case, ["eager"])
    step["eager"]()
    assert step["products"].flops > 2.9 * forward["products"].flops  # backward has two products for one


@pytest.mark.parametrize(("conv", "message"), [("max_relative", "no vig.py there"), ("GATv2Conv", "has no conv")])
def test_reference_says_what_is_missing(conv: str, message: str, tmp_path: object) -> None:
    with pytest.raises(ValueError, match=message):
        build_official(pyg_vig.create_model("vig_nano", conv=conv), str(tmp_path))


def test_reference_says_when_images_are_too_small(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="27 neighbours among the 25 nodes"):
        build_official(pyg_vig.create_model("pvig_ti"), str(tmp_path), size=160)
