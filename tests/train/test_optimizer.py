from __future__ import annotations

import pytest

import pyg_vig
from pyg_vig.train.optimizer import parameter_groups, warmup_cosine


def test_vectors_and_biases_take_no_weight_decay() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2)
    model.stem.requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0)
    assert all(parameter.dim() >= 2 for parameter in decayed["params"])
    assert all(parameter.dim() == 1 for parameter in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == sum(p.requires_grad for p in model.parameters())


def test_names_that_the_network_exempts_take_no_weight_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pyg_vig.create_model("vig_nano", depth=2)
    monkeypatch.setattr(model, "no_weight_decay", lambda: {"position.weight"})
    decayed, plain = parameter_groups(model, 0.05)
    assert any(parameter is model.position.weight for parameter in plain["params"])
    assert not any(parameter is model.position.weight for parameter in decayed["params"])


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_the_learning_rate_rises_to_one_and_falls_to_zero(warmup: int) -> None:
    factors = [warmup_cosine(step, warmup=warmup, total=20) for step in range(21)]
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[warmup] == 1
    assert factors[-1] == pytest.approx(0)
    assert min(factors[:-1]) > 0


def test_the_cosine_may_end_above_zero_and_stay_there() -> None:
    factors = [warmup_cosine(step, warmup=2, total=10, floor=0.1) for step in range(13)]
    assert max(factors) == 1
    assert factors[10:] == pytest.approx([0.1] * 3)
    assert min(factors[2:]) == pytest.approx(0.1)
