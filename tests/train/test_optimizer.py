from __future__ import annotations

import pytest

import pyg_vig
from pyg_vig.train.optimizer import parameter_groups


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
