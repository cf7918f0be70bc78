from __future__ import annotations

import pytest
import torch
from torch import nn

from pyg_vig.tasks.pyramid import PyramidBackbone

SMALL = {
    "pvig_ti": {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2},
    "mobilevig_ti": {"channels": (16, 32, 48, 64), "depths": ((1, 0), (1, 0), (1, 0), (0, 1))},
    "attention_vig_s": {"channels": (16, 32, 48, 64), "depths": ((1, 1), (0, 1), (0, 1), (0, 1))},
    "greedyvig_s": {"channels": (16, 32, 48, 64), "depths": ((0, 1), (0, 1), (0, 1), (0, 1))},
    "vig_ti": {"channels": 16, "depth": 4, "k": 2},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(96, 160), (128, 96)])
def test_any_network_gives_maps_at_strides_4_to_32(name: str, size: tuple[int, int]) -> None:
    backbone = PyramidBackbone(name, **SMALL[name]).eval()
    maps = backbone(torch.rand(2, 3, *size))
    assert [tuple(x.shape[-2:]) for x in maps] == [(size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]
    assert [x.size(1) for x in maps] == backbone.channels
    assert all(torch.isfinite(x).all() for x in maps)


def test_every_map_learns() -> None:
    backbone = PyramidBackbone("vig_ti", **SMALL["vig_ti"])
    sum(x.square().mean() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.resample.parameters())


@pytest.mark.parametrize("synchronised", [False, True])
def test_frozen_norms_stay(synchronised: bool) -> None:
    backbone = PyramidBackbone("pvig_ti", freeze_norm=True, **SMALL["pvig_ti"])
    if synchronised:  # the conversion creates new modules
        backbone = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running" in name}
    norms = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    sum(x.mean() for x in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in before.items())
    assert all(norm.weight.grad is None for norm in norms)
    assert any(p.grad is not None for p in backbone.parameters())


def test_live_norms_learn() -> None:
    backbone = PyramidBackbone("pvig_ti", **SMALL["pvig_ti"]).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running_mean" in name}
    backbone(torch.rand(2, 3, 64, 64))
    assert not any(torch.equal(value, backbone.state_dict()[name]) for name, value in before.items())


def test_other_channels_than_those_of_colour_images_are_refused():
    with pytest.raises(ValueError, match="in_channels must be 3, got 1"):
        PyramidBackbone("vig_nano", in_channels=1)
