from __future__ import annotations

import pytest
import torch

from pyg_vig.graph import Layout
from pyg_vig.nn import DropPath

LAYOUTS = [
    Layout.from_equal(400, 3),
    Layout.from_grid(400, 1, 3),
    Layout.from_batch(torch.arange(400).repeat_interleave(torch.arange(400) % 4), 400),  # some graphs have no nodes
]


@pytest.mark.parametrize("layout", LAYOUTS)
class TestTraining:
    def test_keeps_or_drops_whole_graphs(self, layout):
        out = DropPath(0.25)(torch.ones(layout.num_nodes, 2), layout)
        for graph in range(layout.num_graphs):
            rows = out[layout.batch_vector() == graph]
            assert bool((rows == 0).all()) or bool(torch.isclose(rows, torch.tensor(1 / 0.75)).all())
        assert 0.15 < float((out == 0).double().mean()) < 0.35

    def test_keeps_the_expectation(self, layout):
        out = DropPath(0.4)(torch.ones(layout.num_nodes, 2), layout)
        assert abs(float(out.mean()) - 1) < 0.15

    def test_gradient_is_scaled_alike(self, layout):
        x = torch.ones(layout.num_nodes, 2, requires_grad=True)
        out = DropPath(0.4)(x, layout)
        assert torch.equal(torch.autograd.grad(out.sum(), x)[0], out.detach())

    def test_evaluation_and_zero_probability_change_nothing(self, layout):
        x = torch.randn(layout.num_nodes, 2)
        assert DropPath(0.4).eval()(x, layout) is x
        assert DropPath(0.0)(x, layout) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_probability_out_of_range(p):
    with pytest.raises(ValueError, match=f"got {p}"):
        DropPath(p)


def test_repr():
    assert repr(DropPath(0.1)) == "DropPath(p=0.1)"
