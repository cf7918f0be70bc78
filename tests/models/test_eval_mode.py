from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib
import pytest
import torch

import pyg_vig
from pyg_vig.analysis import attention_weights
from pyg_vig.explore import capture_graphs
from pyg_vig.models import count_macs, similarity_maps
from pyg_vig.models.eval_mode import eval_mode
from pyg_vig.nn.norm import freeze_batch_norms
from pyg_vig.plot import plot_blocks

matplotlib.use("Agg")

IMAGE = torch.rand(3, 32, 32)
HELPERS: dict[str, Callable[[Any], Any]] = {
    "count_macs": lambda model: count_macs(model, 32),
    "similarity_maps": lambda model: similarity_maps(model, IMAGE, [(0.5, 0.5)]),
    "attention_weights": lambda model: attention_weights(model, IMAGE[None]),
    "capture_graphs": lambda model: capture_graphs(model, IMAGE),
    "plot_blocks": lambda model: plot_blocks(model, IMAGE[None]),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("helper", HELPERS)
def test_frozen_norms_stay_frozen_and_training_goes_on(helper: str, fails: bool) -> None:
    model = pyg_vig.create_model("vig_nano", depth=1, conv="cross_attention").train()
    freeze_batch_norms(model)
    before = {name: module.training for name, module in model.named_modules()}
    if fails:
        model.head.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken head")))
        with pytest.raises(RuntimeError, match="broken head"):
            HELPERS[helper](model)
    else:
        HELPERS[helper](model)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_everything_is_in_evaluation_inside() -> None:
    model = pyg_vig.create_model("vig_nano", depth=1).train()
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())
