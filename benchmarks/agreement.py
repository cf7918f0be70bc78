"""Check that the timed networks compute the same as the official code."""

from __future__ import annotations

import torch

from benchmarks.case import Case
from benchmarks.networks import OFFICIAL, build
from pyg_vig.benchmark import in_fresh_process
from pyg_vig.benchmark.networks import EAGER
from pyg_vig.benchmark.report import Row


def measure_agreement(case: Case) -> Row:
    """Measure the largest difference between our logits and the official ones, relative to the largest logit.

    Both networks run in float64: in float32, rounding can decide a near-tie between two neighbours either way, in the
    official code as well.
    """
    value = in_fresh_process(_relative_difference, "default", case)
    return {**case.describe(), "batch": 1, "dtype": "float64", "subject": EAGER, "relative_difference": value}


@torch.no_grad()
def _relative_difference(case: Case) -> float:
    case.start()
    ours, official = (build(case, subject).double() for subject in (EAGER, OFFICIAL))
    images = case.images(batch=1).double()
    expected = official(images)
    return float((ours(images) - expected).abs().max() / expected.abs().max())
