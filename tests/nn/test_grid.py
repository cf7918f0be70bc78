from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.graph import Layout, to_map
from pyg_vig.nn import ConditionalPosition, ConvNorm, Downsample, InvertedResidual
from tests.nn.conv.graphs import randomize

GRID = Layout.from_grid(2, 5, 6)


def random_nodes(channels: int = 8, layout: Layout = GRID) -> Tensor:
    return torch.randn(layout.num_nodes, channels).double()


def as_map(x: Tensor) -> Tensor:
    return x.view(2, 5, 6, -1).permute(0, 3, 1, 2)


def as_rows(feature_map: Tensor) -> Tensor:
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)


def normalize(x: Tensor, norm: nn.BatchNorm2d, training: bool) -> Tensor:
    """Batch norm of a feature map by definition."""
    mean, variance = norm.running_mean, norm.running_var
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    shape = (1, -1, 1, 1)
    scale = norm.weight.view(shape) / (variance.view(shape) + norm.eps).sqrt()
    return (x - mean.view(shape)) * scale + norm.bias.view(shape)


@pytest.mark.parametrize("training", [True, False])
class TestEquations:
    def test_downsample(self, training):
        layer, x = randomize(Downsample(8, 12).double()).train(training), random_nodes()
        part = layer.conv_norm
        map_ = F.conv2d(as_map(x), part.conv.weight, part.conv.bias, stride=2, padding=1)
        expected = as_rows(normalize(map_, part.norm, training))
        out, layout = layer(x, GRID)
        torch.testing.assert_close(out, expected)
        assert (layout.num_graphs, layout.grid) == (2, (3, 3))

    def test_inverted_residual(self, training):
        layer, x = randomize(InvertedResidual(8, act="relu").double()).train(training), random_nodes()
        norms = (layer.expand.norm, layer.depthwise.norm, layer.project.norm)
        hidden = torch.relu(normalize(_pointwise(as_map(x), layer.expand.linear), norms[0], training))
        hidden = F.conv2d(hidden, layer.depthwise.conv.weight, layer.depthwise.conv.bias, padding=1, groups=32)
        hidden = torch.relu(normalize(hidden, norms[1], training))
        branch = normalize(_pointwise(hidden, layer.project.linear), norms[2], training)
        expected = x + layer.layer_scale.weight * as_rows(branch)
        torch.testing.assert_close(layer(x, GRID), expected)


def _pointwise(feature_map: Tensor, linear: nn.Module) -> Tensor:
    return F.conv2d(feature_map, linear.weight[..., None, None], linear.bias)


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_conditional_position(kernel_size):
    layer, x = ConditionalPosition(8, kernel_size).double(), random_nodes()
    around = F.conv2d(as_map(x), layer.conv.weight, layer.conv.bias, padding=kernel_size // 2, groups=8)
    torch.testing.assert_close(layer(x, GRID), x + as_rows(around))


def test_conditional_position_sees_no_other_image_and_needs_a_grid():
    layer, x = ConditionalPosition(8).double(), random_nodes()
    alone = layer(x[30:], Layout.from_grid(1, 5, 6))
    torch.testing.assert_close(layer(x, GRID)[30:], alone)
    with pytest.raises(ValueError, match="do not form a grid"):
        layer(x, Layout.from_equal(2, 30))


def test_inverted_residual_starts_near_the_identity():
    layer, x = InvertedResidual(8).double(), random_nodes()
    assert (layer(x, GRID) - x).abs().max() < 1e-3
    assert (layer(x, GRID) - x).abs().max() > 0


def test_drop_path_drops_the_branch_of_whole_images():
    layout = Layout.from_grid(40, 2, 2)
    layer, x = InvertedResidual(8, layer_scale=1.0, drop_path=0.5).double(), random_nodes(layout=layout)
    kept = (layer(x, layout) != x).view(40, -1).double().mean(1)
    assert set(kept.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("size", [-1, 0, 2, 4])
def test_kernels_without_a_centre(size):
    for build in (lambda: ConvNorm(3, 4, size), lambda: ConditionalPosition(4, size)):
        with pytest.raises(ValueError, match=f"must be odd, .* got {size}: use {max(size + 1, 1)}"):
            build()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 7)])
def test_downsample_halves_any_grid_rounding_up(size):
    out, layout = Downsample(4, 6)(torch.randn(3 * size[0] * size[1], 4), Layout.from_grid(3, *size))
    assert layout.grid == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert to_map(out, layout).shape == (3, 6, *layout.grid)


def test_folding_gives_the_same_and_leaves_no_norm():
    for layer in (Downsample(8, 12), InvertedResidual(8, layer_scale=1.0)):
        x, layer = random_nodes(), randomize(layer.double()).eval()
        expected = layer(x, GRID)
        for part in layer.modules():
            for name in {"fold_norm", "fold_layer_scale"} & set(dir(part)):
                getattr(part, name)()
        found = layer(x, GRID)
        assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in layer.modules())
        for one, other in zip(found, expected, strict=True):
            if isinstance(one, Tensor):
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [True, False])
def test_an_adapter_in_place_of_the_convolution_is_called(training):
    class Adapter(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + 100

    layer, x = randomize(ConvNorm(8, 12).double()).train(training), torch.randn(2, 8, 5, 6).double()
    expected = normalize(layer.conv(x) + 100, layer.norm, training)
    layer.conv = Adapter(layer.conv)
    torch.testing.assert_close(layer(x), expected)
    layer.fold_norm()
    torch.testing.assert_close(layer.eval()(x), normalize(layer.conv(x), layer.norm, False))
