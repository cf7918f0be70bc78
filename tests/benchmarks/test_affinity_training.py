from __future__ import annotations

import pytest
import torch

from benchmarks.affinity_training import CONVS, build, evaluate, fit, measure, summary, summary_table


def stripes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Generate images with one of ten bands of columns brightened."""
    targets = torch.arange(count) % 10
    images = 0.1 * torch.randn(count, 1, 32, 32)
    for image, target in zip(images, targets.tolist(), strict=True):
        image[:, :, 3 * target : 3 * target + 3] += 2
    return images, targets


def test_the_networks_differ_in_the_conv_alone() -> None:
    exponential, softmax, max_relative = (set(build(conv).state_dict()) for conv in CONVS)
    assert exponential == softmax
    assert {key for key in exponential ^ max_relative if ".conv." not in key} == set()


def test_training_learns_and_is_repeatable() -> None:
    accuracies = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build("cross_attention, exponential")
        fit(model, stripes(1280), epochs=2, seed=0)
        accuracies.append(evaluate(model, stripes(200)))
    assert accuracies[0] == accuracies[1] > 30


def test_every_conv_runs_with_every_seed_and_the_summary_counts_them() -> None:
    runs = list(measure(stripes(256), stripes(50), epochs=1, seeds=2))
    assert [(run["conv"], run["seed"]) for run in runs] == [(conv, seed) for seed in (0, 1) for conv in CONVS]
    rows = summary(runs)
    assert rows[0]["lead_over_exponential"] == [0, 0]
    for row, conv in zip(rows, CONVS, strict=True):
        own = [run["accuracy"] for run in runs if run["conv"] == conv]
        assert row["accuracy"] == pytest.approx(sum(own) / 2)
        assert (row["lowest"], row["highest"]) == (min(own), max(own))
    assert summary_table(rows).count("\n") == 4
