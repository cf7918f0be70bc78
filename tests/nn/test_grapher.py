from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.graph import GridGraph, KNNGraph, Layout, NeighborTable, grid_graph, to_map, to_nodes
from pyg_vig.models.position import RelativePosition
from pyg_vig.nn import Grapher, ViGBlock
from tests.golden import golden_input, golden_weights, load_case
from tests.nn.conv.graphs import randomize

RAGGED = Layout.from_batch(torch.tensor([0] * 12 + [2] * 9 + [3] * 15), 4)  # graph 1 has no nodes
CONVS = ["max_relative", "edge", "sage", "gin", "GATv2Conv"]


def official_grapher(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert official names and 1x1 convolutions to the state dict of a Grapher with max-relative conv."""
    places = {
        "fc1.0": "fc1.linear",
        "fc1.1": "fc1.norm",
        "graph_conv.gconv.nn.0": "conv.nn.linear",
        "graph_conv.gconv.nn.1": "conv.nn.norm",
        "fc2.0": "fc2.linear",
        "fc2.1": "fc2.norm",
    }
    state = {}
    for key, value in weights.items():
        place, name = key.rsplit(".", 1)
        state[f"{places[place]}.{name}"] = (
            value.view(()) if name == "num_batches_tracked" else value.flatten(1) if value.dim() > 1 else value
        )
    return state


class TestOfficialGrapher:
    @pytest.mark.parametrize("name", ["grapher_plain", "grapher_rp_r1", "grapher_rp_r2"])
    def test_output_and_neighbours(self, name):
        description, arrays = load_case(name)
        options = description["kwargs"]
        channels, reduction, size = options["in_channels"], options.get("r", 1), description["input"]["shape"][-1]
        position = RelativePosition(channels, size, reduction) if options.get("relative_pos") else None
        grapher = Grapher(
            channels, k=options["kernel_size"], dilation=options["dilation"], reduction=reduction, position=position
        )
        if position is not None:
            stored = torch.from_numpy(arrays["relative_pos_used_rows"])[0]
            rows = position.table[:: description["relative_pos_used"]["row_stride"]]
            torch.testing.assert_close(rows, stored, rtol=0, atol=2e-7)
        missing, unexpected = grapher.load_state_dict(official_grapher(golden_weights(description)), strict=False)
        assert set(missing) <= {"graph.position.table"}
        assert not unexpected
        grapher.double().eval()
        seen: list[NeighborTable] = []
        grapher.graph.register_forward_hook(lambda module, inputs, output: seen.append(output))
        feature_map = golden_input(description["input"]["key"], tuple(description["input"]["shape"])).double()
        x, layout = to_nodes(feature_map)
        out = to_map(grapher(x, layout), layout)
        torch.testing.assert_close(out.float(), torch.from_numpy(arrays["out"]), rtol=0, atol=2e-6)
        official = torch.from_numpy(arrays["knn_00"].astype("int64"))  # (B, n, k), indices within the image
        offset = torch.arange(layout.num_graphs).view(-1, 1, 1) * (size // reduction) ** 2
        assert torch.equal(seen[0].index, (official + offset).flatten(0, 1))


class TestEquation:
    def test_grapher(self):
        grapher = randomize(Grapher(8, k=3).double()).eval()
        x = torch.randn(20, 8).double()
        hidden = grapher.fc1.norm(grapher.fc1.linear(x))
        edge_index = KNNGraph(3, cosine=True)(hidden).edge_index.as_tensor()
        hidden = grapher.conv(hidden, edge_index)
        torch.testing.assert_close(grapher(x), x + grapher.fc2.norm(grapher.fc2.linear(hidden)))

    def test_neighbours_of_the_pooled_map(self):
        grapher = randomize(Grapher(8, k=3, reduction=2).double()).eval()
        feature_map = torch.randn(2, 8, 5, 7).double()  # last row and column fit no pooling window
        x, layout = to_nodes(feature_map)
        hidden = grapher.fc1(x)
        pooled, pooled_layout = to_nodes(F.avg_pool2d(to_map(hidden, layout), 2, 2))
        table = KNNGraph(3, cosine=True)((pooled, hidden), (pooled_layout, layout))
        assert (table.num_src, table.num_dst) == (2 * 2 * 3, 2 * 5 * 7)
        expected = x + grapher.fc2(grapher.conv((pooled, hidden), table))
        torch.testing.assert_close(grapher(x, layout), expected)

    def test_block_is_grapher_then_ffn(self):
        block = randomize(ViGBlock(8, k=3).double()).eval()
        x = torch.randn(20, 8).double()
        torch.testing.assert_close(block(x), block.ffn(block.grapher(x)))
        assert ViGBlock(8, ffn=False).ffn is None

    def test_without_linear_layers(self):
        grapher = Grapher(8, k=3, fc=False).double().eval()
        x = torch.randn(20, 8).double()
        torch.testing.assert_close(grapher(x), x + grapher.conv(x, KNNGraph(3, cosine=True)(x)))


@pytest.mark.parametrize("conv", CONVS)
class TestBatches:
    @pytest.mark.parametrize("layout", [Layout.from_grid(3, 4, 5), Layout.from_equal(2, 9), RAGGED])
    def test_a_batch_gives_what_its_members_give(self, conv, layout):
        block = randomize(ViGBlock(8, conv=conv, k=3, dilation=2).double()).eval()
        x, batch = torch.randn(layout.num_nodes, 8).double(), layout.batch_vector()
        together = block(x, layout)
        for graph in range(layout.num_graphs):
            if bool((batch == graph).any()):
                torch.testing.assert_close(together[batch == graph], block(x[batch == graph]))

    def test_pooled_neighbours(self, conv):
        block = randomize(ViGBlock(8, conv=conv, k=3, reduction=2).double()).eval()
        layout = Layout.from_grid(3, 4, 6)
        x = torch.randn(layout.num_nodes, 8).double()
        parts = [block(part, Layout.from_grid(1, 4, 6)) for part in x.split(24)]
        torch.testing.assert_close(block(x, layout), torch.cat(parts))

    def test_commutes_with_a_permutation_of_the_nodes(self, conv):
        block = randomize(ViGBlock(8, conv=conv, k=3).double()).eval()
        x, order = torch.randn(20, 8).double(), torch.randperm(20)
        torch.testing.assert_close(block(x[order]), block(x)[order])

    def test_trains(self, conv):
        block = ViGBlock(8, conv=conv, k=3, drop_path=0.2, epsilon=0.2, dilation=2)
        block(torch.randn(RAGGED.num_nodes, 8), RAGGED).square().sum().backward()
        assert all(parameter.grad is not None for parameter in block.parameters())


class TestGraphs:
    def test_grid(self):
        grapher = Grapher(8, graph="grid").double().eval()
        layout = Layout.from_grid(2, 3, 4)
        x = torch.randn(24, 8).double()
        hidden = grapher.fc1(x)
        edges = grid_graph(3, 4, batch_size=2).as_tensor()
        torch.testing.assert_close(grapher(x, layout), x + grapher.fc2(grapher.conv(hidden, edges)))

    def test_given_edges(self):
        grapher = Grapher(8, graph="given").double().eval()
        edges = torch.tensor([[1, 2, 5], [0, 0, 3]])
        x = torch.randn(6, 8).double()
        out = grapher(x, Layout.from_equal(1, 6).with_edges(edges))
        torch.testing.assert_close(out, x + grapher.fc2(grapher.conv(grapher.fc1(x), edges)))

    def test_module_of_ones_own(self):
        class Ring(nn.Module):
            def forward(self, x: Tensor, layout: Layout) -> NeighborTable:
                node = torch.arange(x.size(0))
                return NeighborTable(torch.stack([node.roll(1), node.roll(-1)], 1), x.size(0))

        ring = Ring()
        grapher = Grapher(8, graph=ring).eval()
        assert grapher.graph is ring
        x = torch.randn(6, 8)
        moved = x.clone()
        moved[3] += 1
        changed = (grapher(moved) - grapher(x)).abs().amax(1) > 1e-6
        assert changed.tolist() == [False, False, True, True, True, False]

    def test_forward_hook_sees_and_may_replace_the_graph(self):
        grapher = Grapher(8, k=3).eval()
        x, edges = torch.randn(20, 8), torch.tensor([[1], [0]])
        handle = grapher.graph.register_forward_hook(lambda module, inputs, output: edges)
        replaced = grapher(x)
        handle.remove()
        hidden = grapher.fc1(x)
        torch.testing.assert_close(replaced, x + grapher.fc2(grapher.conv(hidden, edges)))

    def test_grid_graph_cannot_serve_pooled_neighbours(self):
        with pytest.raises(ValueError, match="reduction=1"):
            Grapher(8, graph=GridGraph(), reduction=2)(torch.randn(16, 8), Layout.from_grid(1, 4, 4))


class TestErrors:
    def test_pooled_neighbours_need_a_grid(self):
        with pytest.raises(ValueError, match=r"do not form a grid: .* use reduction=1"):
            Grapher(8, k=2, reduction=2)(torch.randn(16, 8))

    def test_conv_for_one_node_set_with_pooled_neighbours(self):
        with pytest.raises(ValueError, match="GCNConv cannot be called with a pair"):
            Grapher(8, conv="GCNConv", reduction=2)

    def test_more_neighbours_than_nodes(self):
        with pytest.raises(ValueError, match="k=9 neighbours requested from a graph with 5 nodes"):
            Grapher(8)(torch.randn(5, 8))


@pytest.mark.parametrize("reduction", [1, 2])
def test_compiled_block_equals_eager(reduction):
    torch._dynamo.reset()
    block = ViGBlock(8, k=3, reduction=reduction, drop_path=0.1).double()
    layout = Layout.from_grid(2, 4, 4)
    x = torch.randn(32, 8).double()
    compiled = torch.compile(copy.deepcopy(block).eval(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, layout), block.eval()(x, layout))
    assert torch.compile(block.train(), fullgraph=True, backend="aot_eager")(x, layout).isfinite().all()
