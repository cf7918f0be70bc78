from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.svga_scaling import OURS, ROLLED, build_subjects, exponents, main, scaled_step
from pyg_vig.graph import to_nodes


@pytest.mark.parametrize("size", [224, 1024])
def test_both_formulations_give_the_same(size: int) -> None:
    subjects = build_subjects(size, batch=1)
    with torch.no_grad():
        rolled, _ = to_nodes(subjects[ROLLED]())
        torch.testing.assert_close(subjects[OURS](), rolled)


def test_the_step_grows_with_the_image_and_divides_it() -> None:
    assert [scaled_step(side) for side in (56, 112, 168, 224, 256)] == [8, 16, 24, 32, 32]


def test_exponents_of_known_growth() -> None:
    sizes = (100, 200, 400)
    rows = [
        {"malloc": "default", "subject": name, "size": size, "median_per_image": 1e-9 * size ** (2 * power)}
        for size in sizes
        for name, power in ((OURS, 1), (ROLLED, 1.5), ("pyg_vig, CrossAttentionConv", 2))
    ]
    assert list(exponents(rows, "default").values()) == pytest.approx([1, 1.5, 2], abs=1e-3)


def test_a_small_run_leaves_results_and_a_plot(tmp_path: Path) -> None:
    output = tmp_path / "svga.json"
    main(["--sizes", "28", "56", "--batch", "1", "--rounds", "2", "--malloc", "default", "--output", str(output)])
    rows = json.loads(output.read_text())["svga_scaling"]
    assert len(rows) == 2 * 3
    assert all(len(row["seconds"]) == 2 for row in rows)
    assert {row["growth_over_pixels"] for row in rows if row["size"] == 28} == {1.0}
    assert output.with_suffix(".png").stat().st_size > 1000
