from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor
from torch_geometric import EdgeIndex

from pyg_vig.graph import CrissCross, Layout, NeighborTable, SVGAGraph, neighbor_max, neighbor_sum, svga_graph
from pyg_vig.graph.adjacency import in_degree, out_degree, zero_isolated
from pyg_vig.nn import EdgeConv, GINConv, MaxRelativeConv, SAGEConv

sizes = st.integers(1, 9)
steps = st.integers(1, 6)

# height, width, step: cliques in both axes, different numbers of them, links along one axis only, no links
CLIQUES = [(4, 4, 2), (6, 9, 3), (3, 5, 1), (4, 2, 2), (2, 6, 3), (2, 3, 4), (1, 1, 1)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def rolled(x: Tensor, height: int, width: int, step: int) -> list[Tensor]:
    """Return the neighbours' rows as in the published code: the map rolled by every multiple of the step."""
    feature_map = x.view(-1, height, width, x.size(1))
    maps = [torch.roll(feature_map, shift, 1) for shift in range(step, height, step)]
    maps += [torch.roll(feature_map, shift, 2) for shift in range(step, width, step)]
    return [rows.flatten(0, 2) for rows in maps]


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).to(out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs)


class TestAgainstRolling:
    @given(sizes, sizes, steps, st.booleans(), st.integers(1, 3))
    def test_edges(self, height, width, step, loop, batch_size):
        edge_index = svga_graph(height, width, step, loop=loop, batch_size=batch_size)
        number = torch.arange(batch_size * height * width).unsqueeze(1)
        expected = torch.cat([number[:, : int(loop)], *rolled(number, height, width, step)], dim=1)
        assert torch.equal(edge_index[0].as_tensor(), expected.flatten())
        assert torch.equal(edge_index[1].as_tensor(), number.expand_as(expected).flatten())
        edge_index.validate()
        assert edge_index.is_sorted_by_col
        assert edge_index.sparse_size() == (number.numel(),) * 2

    @given(sizes, sizes, steps)
    def test_no_loop_and_no_neighbour_twice(self, height, width, step):
        edges = list(zip(*svga_graph(height, width, step).tolist(), strict=True))
        assert len(set(edges)) == len(edges)
        assert all(source != target for source, target in edges)

    @pytest.mark.parametrize(("height", "width", "step"), [*CLIQUES, (7, 7, 2), (5, 8, 3)])
    def test_mobilevig_aggregation(self, height, width, step):
        """The published loop starts from zero, which is the contribution of a self-loop."""
        x = torch.randn(2 * height * width, 5)
        expected = torch.zeros_like(x)
        for rows in rolled(x, height, width, step):
            expected = torch.maximum(expected, x - rows)
        adjacency = SVGAGraph(step, loop=True)(x, Layout.from_grid(2, height, width))
        assert torch.equal(x + neighbor_max(-x, adjacency), expected)


class TestBuilder:
    @given(sizes, sizes, steps, st.booleans(), st.integers(1, 3))
    def test_is_the_function(self, height, width, step, loop, batch_size):
        x = torch.rand(batch_size * height * width, 2)
        adjacency = SVGAGraph(step, loop=loop)(x, Layout.from_grid(batch_size, height, width))
        expected = svga_graph(height, width, step, loop=loop, batch_size=batch_size)
        assert torch.equal(adjacency.edge_index.as_tensor(), expected.as_tensor())
        assert adjacency.index.shape == (adjacency.num_dst, adjacency.k)
        assert adjacency.num_src == adjacency.num_dst == x.size(0)
        assert isinstance(adjacency, CrissCross) == all(size % step == 0 or step >= size for size in (height, width))

    def test_edges_and_tables_are_cached(self):
        assert svga_graph(4, 4, 2, batch_size=3) is svga_graph(4, 4, 2, batch_size=3, device="cpu")
        x, layout, builder = torch.rand(49, 2), Layout.from_grid(1, 7, 7), SVGAGraph(2)
        assert builder(x, layout).index is builder(x, layout).index

    @pytest.mark.parametrize("size", [6, 7])
    def test_a_graph_first_built_in_inference_mode_serves_training(self, size):
        height, step = size, 2 + size % 2
        builder, layout = SVGAGraph(step), Layout.from_grid(5, height, size)
        x = torch.rand(5 * height * size, 2)
        with torch.inference_mode():
            assert isinstance(svga_graph(height, size, step, batch_size=5), EdgeIndex)
            neighbor_max(x, builder(x, layout))
        rows = x.requires_grad_()
        for adjacency in (builder(rows, layout), svga_graph(height, size, step, batch_size=5)):
            (neighbor_max(rows, adjacency) + neighbor_sum(rows, adjacency)).sum().backward()
        assert rows.grad is not None

    def test_repr(self):
        assert repr(SVGAGraph(4)) == "SVGAGraph(step=4, loop=False)"

    @pytest.mark.parametrize("arguments", [(0, 3, 1), (3, -1, 1)])
    def test_bad_sizes(self, arguments):
        with pytest.raises(ValueError, match="must be positive, got " + ", ".join(map(str, arguments[:2]))):
            svga_graph(*arguments)

    def test_bad_steps(self):
        for build in (SVGAGraph, lambda step: svga_graph(4, 4, step)):
            with pytest.raises(ValueError, match="step must be at least 1, got 0"):
                build(0)
        with pytest.raises(ValueError, match="step 2 does not divide 7 x 7"):
            CrissCross(1, 7, 7, 2)

    def test_needs_a_grid(self):
        with pytest.raises(ValueError, match="grid"):
            SVGAGraph()(torch.rand(4, 2), Layout.from_equal(1, 4))
        layouts = (Layout.from_grid(1, 1, 1), Layout.from_grid(1, 2, 2))
        with pytest.raises(ValueError, match="reduction=1"):
            SVGAGraph()((torch.rand(1, 2), torch.rand(4, 2)), layouts)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("height", "width", "step"), CLIQUES)
class TestReductionsOverCliques:
    """Compare strided reductions with the same reductions over the edge list."""

    def pair(self, height: int, width: int, step: int, loop: bool) -> tuple[CrissCross, EdgeIndex]:
        return CrissCross(2, height, width, step, loop=loop), svga_graph(height, width, step, loop=loop, batch_size=2)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_max_is_bit_for_bit(self, height, width, step, loop, dtype):
        graph, edge_index = self.pair(height, width, step, loop)
        x = torch.randn(graph.num_src, 6).to(dtype)
        assert torch.equal(neighbor_max(x, graph), neighbor_max(x, edge_index))
        x.requires_grad_()
        out, expected = neighbor_max(x, graph), neighbor_max(x, edge_index)
        assert torch.equal(out, expected)
        if graph.k:
            torch.testing.assert_close(gradients(out, x), gradients(expected, x))

    @pytest.mark.parametrize("requires_grad", [False, True])
    def test_max_of_infinities_and_ties(self, height, width, step, loop, requires_grad):
        graph, edge_index = self.pair(height, width, step, loop)
        x = torch.randint(-1, 2, (graph.num_src, 6)).float()
        x[:, 0], x[:, 1], x[0, 2], x[-1, 2] = -torch.inf, torch.inf, torch.inf, -torch.inf
        x.requires_grad_(requires_grad)
        assert torch.equal(neighbor_max(x, graph), neighbor_max(x, edge_index))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_gradient_of_ties_goes_to_neighbours_only(self, height, width, step, loop, dtype):
        graph, _ = self.pair(height, width, step, loop)
        if graph.k == 0:
            return
        x = torch.ones(graph.num_src, 1, dtype=dtype, requires_grad=True)
        for i in range(graph.num_src):
            (grad,) = torch.autograd.grad(neighbor_max(x, graph)[i].sum(), x)
            shares = torch.stack([grad[graph.index[i]].sum(), grad.sum()])
            torch.testing.assert_close(shares, torch.ones_like(shares))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_sum(self, height, width, step, loop, dtype):
        graph, edge_index = self.pair(height, width, step, loop)
        x = torch.randn(graph.num_src, 6).to(dtype).requires_grad_()
        out, expected = neighbor_sum(x, graph), neighbor_sum(x, edge_index)
        rounding = {"rtol": 0.02, "atol": 0.05} if dtype == torch.bfloat16 else {}
        torch.testing.assert_close(out, expected, **rounding)
        if graph.k:
            torch.testing.assert_close(gradients(out, x), gradients(expected, x), **rounding)

    def test_weighted_sum(self, height, width, step, loop):
        graph, edge_index = self.pair(height, width, step, loop)
        x = torch.randn(graph.num_src, 6)
        weight = torch.randn(edge_index.size(1))
        torch.testing.assert_close(neighbor_sum(x, graph, weight), neighbor_sum(x, edge_index, weight))

    def test_gradcheck(self, height, width, step, loop):
        graph, _ = self.pair(height, width, step, loop)
        if graph.k == 0:
            return
        x = torch.randn(graph.num_src, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda rows: neighbor_max(rows, graph), x)
        assert torch.autograd.gradcheck(lambda rows: neighbor_sum(rows, graph), x)

    def test_degrees(self, height, width, step, loop):
        graph, edge_index = self.pair(height, width, step, loop)
        assert torch.equal(in_degree(graph), in_degree(edge_index))
        assert torch.equal(out_degree(graph, graph.num_src), out_degree(edge_index, graph.num_src))
        assert bool(zero_isolated(torch.ones(graph.num_dst, 1), graph).any()) == (graph.k > 0)


def test_views_of_other_memory_order():
    graph, x = CrissCross(2, 4, 6, 2), torch.randn(5, 2 * 4 * 6).t()
    for reduce in (neighbor_max, neighbor_sum):
        torch.testing.assert_close(reduce(x, graph), reduce(x.contiguous(), graph))


@pytest.mark.parametrize("loop", [False, True])
def test_no_grids_at_all(loop):
    graph, x = CrissCross(0, 4, 6, 2, loop=loop), torch.rand(0, 5, requires_grad=True)
    for reduce in (neighbor_max, neighbor_sum):
        assert reduce(x, graph).shape == reduce(x.detach(), graph).shape == (0, 5)


def test_a_table_without_columns_reduces_to_zero():
    table = NeighborTable(torch.empty(3, 0, dtype=torch.int64), num_src=2)
    for reduce in (neighbor_max, neighbor_sum):
        assert torch.equal(reduce(torch.rand(2, 4), table), torch.zeros(3, 4))


def test_gradient_of_a_maximum_that_met_a_nan():
    x = torch.randn(16, 3)
    x[5] = torch.nan
    for adjacency in (CrissCross(1, 4, 4, 2), svga_graph(4, 4, 2)):
        rows = x.clone().requires_grad_()
        neighbor_max(rows, adjacency).nan_to_num().sum().backward()
        assert rows.grad is not None


@pytest.mark.parametrize("conv_type", [MaxRelativeConv, EdgeConv, SAGEConv, GINConv])
@pytest.mark.parametrize("training", [False, True])
def test_convs_see_one_graph_in_every_form(conv_type, training):
    graph, edge_index = CrissCross(2, 4, 6, 2), svga_graph(4, 6, 2, batch_size=2)
    conv = conv_type(6, 8, norm="batch").double().train(training)
    x = torch.randn(graph.num_src, 6, dtype=torch.float64)
    expected = conv(x, edge_index.as_tensor())
    for adjacency in (graph, edge_index, NeighborTable(graph.index, graph.num_src)):
        torch.testing.assert_close(conv(x, adjacency), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", [neighbor_max, neighbor_sum])
@pytest.mark.parametrize(("size", "loop"), [(4, False), (4, True), (5, False)])
def test_compiled_equals_eager(reduce, size, loop, dtype):
    torch._dynamo.reset()
    builder, layout = SVGAGraph(2, loop=loop), Layout.from_grid(2, size, size)
    x = torch.randn(layout.num_nodes, 3, dtype=dtype, requires_grad=True)

    def run(rows: Tensor) -> Tensor:
        return reduce(rows, builder(rows, layout))

    compiled, eager = torch.compile(run, fullgraph=True)(x), run(x)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(compiled, x), gradients(eager, x))


@pytest.mark.parametrize("loop", [False, True])
def test_sums_keep_neighbours_much_smaller_than_the_node(loop):
    graph = CrissCross(1, 4, 4, 1, loop=loop)
    x = torch.ones(16, 1)
    x[0] = 1e8
    expected = neighbor_sum(x.double(), NeighborTable(graph.index, 16))
    assert torch.allclose(neighbor_sum(x, graph).double(), expected)
