from __future__ import annotations

import pytest
import torch
from torch import nn

import pyg_vig
from pyg_vig.models import count_macs, count_parameters, list_models
from pyg_vig.models.published import PUBLISHED, PUBLISHED_CONVS
from pyg_vig.nn import MaxRelativeConv


@pytest.mark.parametrize("conv", PUBLISHED_CONVS)
def test_convs_of_vig_ti_come_to_the_published_flops(conv: str) -> None:
    model = pyg_vig.create_model("vig_ti", conv=conv)
    fused, definition = count_macs(model) / 1e9, count_macs(model, definition=True) / 1e9
    assert definition == pytest.approx(PUBLISHED_CONVS[conv].flops_g, abs=0.06)  # the paper's count includes norms
    assert fused <= definition
    if conv == "edge":  # the fused path costs as much as max-relative
        assert fused == pytest.approx(1.301, abs=1e-3)
        assert definition == pytest.approx(2.349, abs=1e-3)


def test_counting_leaves_no_trace() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count_macs(model, 32, definition=True) == count_macs(model, (32, 32))
    assert model.training
    assert all(module.fuse for module in model.modules() if isinstance(module, MaxRelativeConv))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counts_by_hand() -> None:
    convolution = nn.Conv2d(2, 5, 3, bias=False)
    assert count_macs(convolution, (4, 6), in_channels=2) == 2 * 4 * 5 * 2 * 9
    assert count_parameters(convolution) == 90
    assert count_parameters(convolution.requires_grad_(False)) == 0
    assert count_parameters(convolution, trainable_only=False) == 90


def test_published_figures_are_of_networks_that_exist() -> None:
    assert set(PUBLISHED) <= set(list_models())
