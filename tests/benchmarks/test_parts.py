from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.parts import (
    DENSE,
    DENSE_CONVS,
    OURS,
    PYG,
    PYG_CONVS,
    conv_subjects,
    knn_subjects,
    pool_subjects,
    svga_subjects,
)
from pyg_vig.benchmark.networks import PRODUCTS
from pyg_vig.benchmark.timing import Subject


@pytest.mark.parametrize("name", PYG_CONVS)
@pytest.mark.parametrize("step", ["forward", "forward + backward"])
def test_every_formulation_of_a_conv_runs(name: str, step: str) -> None:
    subjects = conv_subjects(name, torch.randn(2, 16, 8), step)
    assert {OURS, PYG, PRODUCTS} < set(subjects)
    assert (DENSE in subjects) == (name in DENSE_CONVS)
    assert subjects[PRODUCTS].flops > 0
    for subject in subjects.values():
        subject()


@pytest.mark.parametrize("build", [knn_subjects, pool_subjects, svga_subjects])
def test_formulations_of_a_part_give_the_same(build: Callable[[Tensor], dict[str, Subject]]) -> None:
    subjects = build(torch.randn(2, 196, 8))
    results = {name: _per_image(subject()) for name, subject in subjects.items() if name != PRODUCTS}
    for result in results.values():
        torch.testing.assert_close(result, results[OURS])


def _per_image(result: object) -> Tensor:
    """Convert any formulation's result to pooled rows ``(B, C)``, maxima ``(B, C, N)`` or neighbours ``(B, N, k)``."""
    if not isinstance(result, Tensor):
        return (result.index % 196).view(2, 196, -1)
    if result.dim() == 2 and result.size(0) == 2 * 196:
        return result.view(2, 196, -1).mT
    return result.flatten(2).squeeze(-1) if result.dim() == 4 else result
