from __future__ import annotations

import pytest

import pyg_vig
from benchmarks.case import Case
from benchmarks.networks import OFFICIAL, build
from benchmarks.reference import build_official
from pyg_vig.benchmark.networks import EAGER


@pytest.mark.parametrize(("conv", "message"), [("max_relative", "no vig.py in"), ("GATv2Conv", "expected a conv")])
def test_reference_says_what_is_missing(conv: str, message: str, tmp_path: object) -> None:
    with pytest.raises(ValueError, match=message):
        build_official("vig_nano", pyg_vig.create_model("vig_nano", conv=conv), [str(tmp_path)])


def test_reference_says_when_images_are_too_small(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="27 neighbours, but its last stage has only 25 nodes"):
        build_official("pvig_ti", pyg_vig.create_model("pvig_ti"), [str(tmp_path)], size=160)


def test_reference_knows_which_networks_were_published(tmp_path: object) -> None:
    with pytest.raises(ValueError, match=r"no greedyvig\.py in"):
        build_official("greedyvig_s", pyg_vig.create_model("greedyvig_s"), [str(tmp_path)])
    with pytest.raises(ValueError, match="no official code of attention_vig_s"):
        build_official("attention_vig_s", pyg_vig.create_model("attention_vig_s"), [str(tmp_path)])


def test_the_official_network_needs_a_checkout_and_ours_does_not() -> None:
    case = Case("vig_nano", size=32)
    with pytest.raises(ValueError, match="--reference DIR"):
        build(case, OFFICIAL)
    assert not build(case, EAGER).training
    assert build(case, EAGER, training=True).training
