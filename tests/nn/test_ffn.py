from __future__ import annotations

import torch
from torch import nn

from pyg_vig.graph import Layout
from pyg_vig.nn import FFN, LayerScale, LinearNorm
from tests.nn.conv.graphs import randomize


def test_equals_its_equation():
    ffn = randomize(FFN(6, 10, act="relu").double()).eval()
    x = torch.randn(9, 6).double()
    hidden = torch.relu(ffn.fc1.norm(ffn.fc1.linear(x)))
    torch.testing.assert_close(ffn(x), x + ffn.fc2.norm(ffn.fc2.linear(hidden)))


def test_hidden_width_is_four_times_the_width():
    assert FFN(6).fc1.linear.out_features == 24
    assert FFN(6, 10).fc1.linear.out_features == 10


def test_layer_scale_folds_into_the_last_layer_and_stays_where_a_norm_stands_between():
    for norm, left in ((None, nn.Identity), ("layer", LayerScale)):
        ffn, x = FFN(6, layer_scale=0.3), torch.randn(9, 6).double()
        ffn.fc2 = LinearNorm(24, 6, norm=norm)
        ffn = randomize(ffn.double()).eval()
        expected = ffn(x)
        ffn.fold_layer_scale()
        assert type(ffn.layer_scale) is left
        torch.testing.assert_close(ffn(x), expected)


def test_nodes_do_not_see_each_other():
    ffn, x = FFN(6).eval(), torch.randn(9, 6)
    torch.testing.assert_close(ffn(x)[4:5], ffn(x[4:5]))


def test_drop_path_drops_the_branch_of_whole_graphs():
    ffn, layout = FFN(6, drop_path=0.5), Layout.from_equal(40, 3)
    x = torch.randn(120, 6)
    kept = (ffn(x, layout) != x).view(40, -1).double().mean(1)
    assert set(kept.tolist()) == {0.0, 1.0}


def test_activation_modules_are_shared_as_given():
    act = nn.PReLU()
    assert FFN(6, act=act).act is act


def test_drop_path_in_one_pass_is_the_module():
    """A hook makes the block call the module, with the same draws."""
    ffn, layout, x = FFN(6, drop_path=0.5).double(), Layout.from_equal(40, 3), torch.randn(120, 6, dtype=torch.float64)
    found = []
    for hooked in (False, True):
        if hooked:
            ffn.drop_path.register_forward_hook(lambda *_: None)
        torch.manual_seed(0)
        rows = x.clone().requires_grad_()
        out = ffn(rows, layout)
        found.append((out.detach(), *torch.autograd.grad(out.sin().sum(), (rows, *ffn.parameters()))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
