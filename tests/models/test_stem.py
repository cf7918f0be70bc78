from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyg_vig.graph import to_map
from pyg_vig.models.stem import ConvStem, PatchStem
from pyg_vig.nn import ConvNorm, Downsample


def test_conv_norm_folds_on_the_way_and_for_good():
    torch.manual_seed(0)
    module = ConvNorm(3, 8, stride=2).double()
    module(torch.rand(4, 3, 9, 9, dtype=torch.float64))
    module.eval()
    x = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    expected = module.norm(module.conv(x))
    torch.testing.assert_close(module(x), expected)
    module.fold_norm()
    assert isinstance(module.norm, torch.nn.Identity)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("stride", "widths"), [(16, [6, 12, 24, 48, 48]), (4, [24, 48, 48]), (2, [48, 48])])
def test_conv_stem_doubles_its_widths(stride, widths):
    stem = ConvStem(3, 48, stride, "gelu")
    assert [conv.conv.out_channels for conv in stem.convs] == widths
    x, layout = stem(torch.rand(2, 3, 64, 96))
    assert layout.grid == (64 // stride, 96 // stride)
    assert x.shape == (layout.num_nodes, 48)


def test_conv_stem_hands_its_map_on_without_a_copy():
    stem = ConvStem(3, 16, 4, "gelu").eval()
    x, layout = stem(torch.rand(2, 3, 32, 32))
    assert x.is_contiguous()
    assert to_map(x, layout).is_contiguous(memory_format=torch.channels_last)


def test_patch_stem_is_a_convolution_with_stride():
    stem = PatchStem(3, 16, 4)
    images = torch.rand(2, 3, 8, 12)
    weight = stem.linear.weight.view(16, 3, 4, 4)
    expected = F.conv2d(images, weight, stem.linear.bias, stride=4)
    x, layout = stem(images)
    torch.testing.assert_close(to_map(x, layout), expected)


def test_downsample_halves_the_grid():
    x, layout = ConvStem(3, 16, 4, "gelu")(torch.rand(1, 3, 20, 32))
    x, layout = Downsample(16, 24)(x, layout)
    assert layout.grid == (3, 4)
    assert x.shape == (12, 24)


def test_widths_must_halve():
    with pytest.raises(ValueError, match="divisible by 8"):
        ConvStem(3, 20, 16, "gelu")
