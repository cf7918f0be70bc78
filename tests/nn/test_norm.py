from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pyg_vig.nn import norm_resolver
from pyg_vig.nn.norm import (
    folded_weight_and_bias,
    freeze_batch_norms,
    is_foldable,
    uses_batch_statistics,
)
from tests.nn.conv.graphs import randomize


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("batch", nn.BatchNorm1d),
        ("batch_norm", nn.BatchNorm1d),
        ("Layer", nn.LayerNorm),
        ("layer", nn.LayerNorm),
        ("none", nn.Identity),
        (None, nn.Identity),
    ],
)
def test_names(name, kind):
    assert type(norm_resolver(name, 4)) is kind


def test_instance_norm_is_refused():
    with pytest.raises(ValueError, match="unknown norm 'instance': choose 'batch', 'layer' or None"):
        norm_resolver("instance", 4)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_fold(shape, bias, affine):
    """Fold a norm into a linear layer or a convolution."""
    layer = nn.Linear(4, 6, bias) if len(shape) == 2 else nn.Conv2d(4, 6, 3, bias=bias)
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(6, affine=affine)
    randomize(nn.Sequential(layer, norm)).eval()
    x = torch.randn(5, 4) if len(shape) == 2 else torch.randn(5, 4, 6, 6)
    expected, folded = norm(layer(x)), copy.deepcopy(layer)
    weight, shift = folded_weight_and_bias(layer.weight, layer.bias, norm)
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(shift)
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)


def test_which_norms_fold():
    norm = nn.BatchNorm1d(4)
    assert uses_batch_statistics(norm)
    assert not is_foldable(norm)
    assert is_foldable(norm.eval())
    assert not uses_batch_statistics(norm)
    without_statistics = nn.BatchNorm1d(4, track_running_stats=False).eval()
    assert uses_batch_statistics(without_statistics)
    assert not is_foldable(without_statistics)
    assert not is_foldable(nn.LayerNorm(4).eval())


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.SyncBatchNorm])
def test_frozen_batch_norms_keep_their_statistics(kind, affine):
    norm = randomize(kind(4, momentum=None))
    model = nn.Sequential(nn.Sequential(norm), nn.LayerNorm(4), nn.Dropout()).train()
    before = copy.deepcopy(norm.state_dict())
    freeze_batch_norms(model, affine=affine)
    assert [module.training for module in model] == [True, True, True]
    model(torch.randn(5, 4)).sum().backward()
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)
    assert (norm.weight.grad is None) == affine
    assert model[1].weight.grad is not None
