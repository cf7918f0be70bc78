from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pyg_vig.graph import to_map, to_nodes
from pyg_vig.nn import GroupedLinear, LinearNorm, NodeUpdate
from pyg_vig.nn.linear import PairUpdate
from tests.nn.conv.graphs import randomize


class TestGroupedLinear:
    @pytest.mark.parametrize("groups", [1, 2, 3, 6])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("dimensions", [1, 2])
    def test_is_a_convolution_of_size_one_with_groups(self, groups, bias, dimensions):
        layer = GroupedLinear(12, 18, groups, bias).double()
        conv_class = nn.Conv1d if dimensions == 1 else nn.Conv2d
        conv = conv_class(12, 18, 1, groups=groups, bias=bias).double()
        assert conv.weight.squeeze().shape == layer.weight.shape
        with torch.no_grad():
            layer.weight.copy_(conv.weight.flatten(1))
            if bias:
                layer.bias.copy_(conv.bias)
        x = torch.randn(7, 12).double()
        expected = conv(x.view(7, 12, *[1] * dimensions)).flatten(1)
        torch.testing.assert_close(layer(x), expected)

    def test_is_drawn_like_the_convolution(self):
        """Weights and biases are uniform within one over the square root of a group's input channels."""
        for layer in (GroupedLinear(64, 4096, 4), nn.Conv1d(64, 4096, 1, groups=4)):
            assert 0.24 < layer.weight.detach().abs().max() <= 0.25
            assert 0.24 < layer.bias.detach().abs().max() <= 0.25

    @pytest.mark.parametrize(("widths", "groups"), [((12, 18), 4), ((10, 16), 4), ((12, 18), 0)])
    def test_groups_that_do_not_divide(self, widths, groups):
        with pytest.raises(ValueError, match=rf"got {groups} for {widths[0]} -> {widths[1]}"):
            GroupedLinear(*widths, groups)

    def test_no_rows(self):
        for groups in (1, 2):
            assert GroupedLinear(4, 6, groups)(torch.empty(0, 4)).shape == (0, 6)

    def test_repr(self):
        assert repr(GroupedLinear(4, 6, 2)) == "GroupedLinear(in_features=4, out_features=6, bias=True, groups=2)"

    def test_widths_are_those_of_the_rows_and_the_draw_is_that_of_one_group(self):
        layer = GroupedLinear(4, 6, 2)
        assert (layer.in_features, layer.out_features, layer.weight.shape) == (4, 6, (6, 2))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("train", [True, False])
def test_is_conv_and_batch_norm_of_the_feature_map(groups, train):
    """Outputs, gradients and running statistics on node rows equal those of the published code on feature maps."""
    conv, norm = nn.Conv2d(12, 18, 1, groups=groups).double(), nn.BatchNorm2d(18).double()
    reference = randomize(nn.Sequential(conv, norm)).train(train)
    layer = LinearNorm(12, 18, groups=groups).double().train(train)
    layer.linear.load_state_dict({"weight": conv.weight.flatten(1), "bias": conv.bias})
    layer.norm.load_state_dict(norm.state_dict())
    feature_map = torch.randn(2, 12, 5, 4, dtype=torch.float64, requires_grad=True)
    x, layout = to_nodes(feature_map)
    weight = torch.randn(2, 18, 5, 4).double()
    out, expected = to_map(layer(x), layout), reference(feature_map)
    torch.testing.assert_close(out, expected)
    inputs = [(feature_map, conv.weight, norm.weight), (feature_map, layer.linear.weight, layer.norm.weight)]
    by_map, by_node = (
        torch.autograd.grad((result * weight).sum(), leaves)
        for result, leaves in zip((expected, out), inputs, strict=True)
    )
    torch.testing.assert_close([g.flatten() for g in by_node], [g.flatten() for g in by_map])
    torch.testing.assert_close(layer.norm.running_mean, norm.running_mean)
    torch.testing.assert_close(layer.norm.running_var, norm.running_var)


class TestFolding:
    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("rows", [3, 50])  # few rows are not worth folding
    def test_equals_the_two_layers(self, groups, bias, rows):
        layer = randomize(LinearNorm(8, 12, groups=groups, bias=bias).double()).eval()
        x = torch.randn(rows, 8).double()
        torch.testing.assert_close(layer(x), layer.norm(layer.linear(x)))

    def test_gradients_pass_through(self):
        layer = randomize(LinearNorm(8, 12).double()).eval()
        x = torch.randn(50, 8).double()
        folded = torch.autograd.grad(layer(x).square().sum(), layer.parameters())
        apart = torch.autograd.grad(layer.norm(layer.linear(x)).square().sum(), layer.parameters())
        torch.testing.assert_close(folded, apart)

    @pytest.mark.parametrize("norm", ["layer", None])
    def test_other_norms_are_applied(self, norm):
        layer = randomize(LinearNorm(8, 12, norm=norm).double()).eval()
        x = torch.randn(50, 8).double()
        torch.testing.assert_close(layer(x), layer.norm(layer.linear(x)))

    def test_reset_parameters(self):
        layer = randomize(LinearNorm(8, 12))
        before = layer.linear.weight.clone()
        layer.reset_parameters()
        assert not torch.equal(layer.linear.weight, before)
        assert bool((layer.norm.weight == 1).all())
        assert bool((layer.norm.running_mean == 0).all())


class TestUpdates:
    def test_node_update_is_linear_norm_activation(self):
        layer = randomize(NodeUpdate(8, 12, groups=2, norm="batch", act="relu").double()).eval()
        x = torch.randn(5, 8).double()
        torch.testing.assert_close(layer(x), torch.relu(layer.norm(layer.linear(x))))

    @pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (6, 3), (8, 4), (6, 4), (5, 2)])
    @pytest.mark.parametrize("train", [True, False])
    def test_pair_update_is_the_update_of_alternating_channels(self, channels, groups, train):
        layer = randomize(PairUpdate(channels, 12, groups=groups, norm="batch").double()).train(train)
        plain = NodeUpdate(2 * channels, 12, groups=groups, norm="batch").double().train(train)
        plain.load_state_dict(copy.deepcopy(layer.state_dict()))
        x, y = torch.randn(2, 40, channels).double()
        alternating = torch.stack([x, y], 2).flatten(1)
        torch.testing.assert_close(layer(x, y), plain(alternating))


def test_no_cached_weights_survive_a_step():
    """Folded weights follow the parameters, even after further training."""
    layer = LinearNorm(8, 12).eval()
    x = torch.randn(50, 8)

    def difference() -> Tensor:
        return (layer(x) - layer.norm(layer.linear(x))).abs().max()

    assert difference() < 1e-5
    randomize(layer)
    assert difference() < 1e-4


@pytest.mark.parametrize("train", [False, True])
def test_an_adapter_in_place_of_the_linear_layer_is_called(train):
    class Adapter(nn.Module):
        """Adds a low-rank product to the output of the layer, as LoRA does."""

        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer
            self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + self.up(self.down(x))

    layer, x = LinearNorm(4, 8).train(train), torch.rand(20, 4)
    layer.linear = Adapter(layer.linear)
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(layer(x), twin.norm(twin.linear(x)))
    layer.eval()
    before = layer(x)
    layer.fold_norm()
    torch.testing.assert_close(layer(x), before)
