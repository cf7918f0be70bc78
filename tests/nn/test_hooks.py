"""Hooks on a module see, and may change, every call: no fused path replaces a module with hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric import EdgeIndex

from pyg_vig.graph import Layout, NeighborTable
from pyg_vig.nn import FFN, ConvNorm, EdgeConv, GINConv, GraphEncoder, LinearNorm, SAGEConv, conv_resolver
from pyg_vig.nn.conv.resolver import CONVS
from pyg_vig.nn.hooks import has_hooks
from pyg_vig.nn.linear import PairUpdate
from tests.nn.conv.graphs import randomize

TABLE = NeighborTable((torch.arange(10).view(-1, 1) + torch.tensor([0, 3, 7])) % 10, 10)
LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "linear": (lambda: LinearNorm(8, 12, groups=2), lambda: (torch.randn(20, 8),)),
    "pair": (lambda: PairUpdate(8, 12, groups=2, norm="batch"), lambda: (torch.randn(20, 8), torch.randn(20, 8))),
    "convolution": (lambda: ConvNorm(8, 12), lambda: (torch.randn(2, 8, 5, 4),)),
}


def record_calls(module: nn.Module) -> list[nn.Module]:
    """Return a list to which the module is appended with every call."""
    seen: list[nn.Module] = []
    module.register_forward_hook(lambda module, inputs, output: seen.append(module))
    return seen


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_of_every_kind_count(kind):
    layer = nn.Linear(4, 4)
    handle = getattr(layer, f"register_{kind}_hook")(lambda *_: None)
    assert has_hooks(layer)
    handle.remove()
    assert not has_hooks(layer)


def test_counters_of_operations_do_not_count():
    """They hook into all modules of the process, but should count the operations of the fused paths."""
    layer = nn.Linear(4, 4)
    with FlopCounterMode(display=False):
        assert not has_hooks(layer)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("part", [0, 1])
def test_layers_call_parts_with_hooks_and_give_the_same_output(name, train, part):
    build, inputs = LAYERS[name]
    layer, x = randomize(build().double()).train(train), [rows.double() for rows in inputs()]
    expected = copy.deepcopy(layer)(*x)
    seen = record_calls(list(layer.children())[part])
    torch.testing.assert_close(layer(*x), expected)
    assert len(seen) == 1


@pytest.mark.filterwarnings("ignore::FutureWarning")  # deprecated, but still in use
@pytest.mark.parametrize("name", LAYERS)
def test_weights_made_by_a_hook_are_made_in_every_step(name):
    build, inputs = LAYERS[name]
    layer, x = build(), inputs()
    inner = next(layer.children())
    nn.utils.weight_norm(inner)
    for _ in range(2):
        layer(*x).square().sum().backward()
    with torch.no_grad():
        inner.weight_g.zero_()
    assert torch.equal(layer.eval()(*x), layer(*[torch.zeros_like(rows) for rows in x]))


def test_last_layer_of_a_branch_shows_the_branch_alone():
    layer, x = randomize(FFN(8)).eval(), torch.randn(20, 8)
    expected, outputs = layer(x), []
    layer.fc2.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(x + outputs[0], expected)
    seen = record_calls(layer.drop_path)
    layer(x, Layout.from_equal(2, 10))
    assert len(seen) == 1


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("adjacency", [TABLE, TABLE.edge_index], ids=["table", "EdgeIndex"])
class TestConvs:
    def test_messages(self, conv, adjacency):
        layer, x = randomize(conv_resolver(conv, 8, 12, norm="batch").double()).train(), torch.randn(10, 8).double()
        expected, rows = copy.deepcopy(layer)(x, adjacency), []
        layer.register_message_forward_hook(lambda conv, inputs, out: rows.append(out.size(0)))
        torch.testing.assert_close(layer(x, adjacency), expected)
        assert rows == [30]

    def test_propagation(self, conv, adjacency):
        layer, x = randomize(conv_resolver(conv, 8, 12)).eval(), torch.randn(10, 8)
        expected = layer(x, adjacency)
        layer.register_propagate_forward_hook(lambda conv, inputs, out: 0 * out)
        assert not torch.allclose(layer(x, adjacency), expected)


@pytest.mark.parametrize("build", [EdgeConv, SAGEConv])
@pytest.mark.parametrize("part", ["", ".norm"])
def test_update_of_every_edge(build, part):
    layer, x = randomize(build(8, 12, norm="batch").double()).train(), torch.randn(10, 8).double()
    expected = copy.deepcopy(layer)(x, TABLE)
    seen = record_calls(layer.get_submodule(("nn" if build is EdgeConv else "nn1") + part))
    torch.testing.assert_close(layer(x, TABLE), expected)
    assert len(seen) == 1


def test_edges_reach_messages_with_hooks_in_the_order_given():
    model, edges = GraphEncoder(8, 16, 4, conv=GINConv, depth=1), torch.tensor([[5, 1, 3, 2], [4, 0, 2, 1]])
    seen: list[Tensor] = []
    conv = model.blocks[0].grapher.conv
    conv.register_propagate_forward_pre_hook(lambda conv, inputs: seen.append(inputs[0]))
    model(torch.randn(6, 8), edges)
    assert isinstance(seen[0], EdgeIndex)
    conv.register_aggregate_forward_hook(lambda conv, inputs, out: None)
    model(torch.randn(6, 8), edges)
    assert torch.equal(seen[1], edges)
