from __future__ import annotations

import math

import pytest
import torch

import pyg_vig
from pyg_vig.analysis import diversity, diversity_by_block
from pyg_vig.graph import Layout


def test_known_values() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 4.0]])  # medians 0 and 2
    assert diversity(x).item() == pytest.approx(math.sqrt(4 * 5))  # columns sum to 3 and 4, the last row to 5
    assert diversity(x, relative=True).item() == pytest.approx(math.sqrt(4 * 5) / math.sqrt(6 * 7))


def test_equal_rows_have_none_wherever_they_are() -> None:
    assert diversity(torch.tensor([[3.0, -1.0]]).repeat(5, 1)).item() == 0


def test_scale_and_shift() -> None:
    x = torch.randn(20, 8, dtype=torch.float64)
    torch.testing.assert_close(diversity(3 * x + 7), 3 * diversity(x))
    torch.testing.assert_close(diversity(3 * x, relative=True), diversity(x, relative=True))


def test_images_are_kept_apart() -> None:
    x, layout = torch.randn(24, 8), Layout.from_grid(2, 3, 4)
    torch.testing.assert_close(diversity(x, layout), torch.cat([diversity(x[:12]), diversity(x[12:])]))


def test_the_median_is_near_the_best_row() -> None:
    """Minimising the definition by gradient descent finds no row that is much closer."""
    x = torch.randn(30, 6, dtype=torch.float64)
    row = x.mean(0, keepdim=True).requires_grad_()
    optimizer, best = torch.optim.Adam([row], lr=0.02), math.inf
    for _ in range(500):
        rest = (x - row).abs()
        distance = (rest.sum(0).amax() * rest.sum(1).amax()).sqrt()
        best = min(best, distance.item())
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    assert best <= diversity(x).item() <= 1.15 * best


def test_first_row_is_what_enters_the_first_block() -> None:
    model, images = pyg_vig.create_model("vig_nano", depth=3).eval(), torch.rand(2, 3, 32, 32)
    values = diversity_by_block(model, images)
    assert values.shape == (4, 2)
    with torch.no_grad():
        x, layout = model.stem(images)
        torch.testing.assert_close(values[0], diversity(model.position(x, layout), layout))
        torch.testing.assert_close(values[-1], diversity(*model.encode(images)))


def test_the_network_keeps_its_statistics_and_mode() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diversity_by_block(model, torch.rand(2, 3, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_plain_residual_network_collapses_and_vig_does_not() -> None:
    """Reproduce figure 3 of the paper at small scale, with random weights and batch statistics."""
    images = torch.rand(2, 3, 64, 64)
    ends = {}
    for name, options in {"vig": {}, "plain": {"grapher_fc": False, "ffn": False, "norm": None}}.items():
        torch.manual_seed(0)
        model = pyg_vig.create_model("vig_nano", depth=12, **options)
        values = diversity_by_block(model.train(), images, relative=True).mean(1)
        ends[name] = values[-1] / values[0]
    assert ends["vig"] > 0.8
    assert ends["plain"] < 0.5
