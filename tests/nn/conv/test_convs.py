"""Properties of every conv of pyg_vig."""

from __future__ import annotations

import copy
import io
import pickle
import re

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import BatchNorm as PyGBatchNorm
from torch_geometric.testing import assert_module

from pyg_vig.graph import Layout, NeighborTable, knn_table
from pyg_vig.nn import CrossAttentionConv, EdgeConv, MaxRelativeConv, NeighborConv, NodeUpdate, SAGEConv
from pyg_vig.nn.activation import _ACTIVATIONS
from tests.nn.conv import graphs
from tests.nn.conv.equations import EQUATIONS
from tests.nn.conv.graphs import CHANNELS, Graph

CONVS = [pytest.param(conv, id=conv.__name__) for conv in EQUATIONS]
NORMS = [pytest.param(norm, id=f"norm={norm}") for norm in ("batch", "layer", None)]
MODES = [pytest.param(True, id="train"), pytest.param(False, id="eval")]


def make_conv(conv: type[NeighborConv], *, train: bool = False, out: int = 24, **options) -> NeighborConv:
    return graphs.randomize(conv(CHANNELS, out, **options).double()).train(train)


class Wave(nn.Module):
    """An activation that is neither monotone nor quasi-convex."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(3 * x)


class TableConv(nn.Module):
    """A conv whose neighbour table is created inside the compiled region, as by the graph builders."""

    def __init__(self, conv: NeighborConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.conv(x, NeighborTable(index, x.size(0)))


def definition_of(conv: NeighborConv) -> NeighborConv:
    """Return a copy that computes by definition instead of the fused path."""
    conv = copy.deepcopy(conv)
    conv.fuse = False
    return conv


def run_with_gradients(conv: nn.Module, graph: Graph, adjacency: object) -> tuple[Tensor, list[Tensor]]:
    """Return output, gradients with respect to inputs and parameters, and statistics after the step."""
    graph = Graph(copy.deepcopy(graph.x), graph.adjacency)
    leaves = [rows.requires_grad_() for rows in {id(rows): rows for rows in (graph.source, graph.target)}.values()]
    out = conv(graph.x, adjacency)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((out * weight).sum(), [*leaves, *conv.parameters()])
    return out, [*gradients, *(buffer.clone() for buffer in conv.buffers())]


def assert_fused_equals_definition(conv: NeighborConv, graph: Graph) -> None:
    definition = definition_of(conv)
    expected, expected_effects = run_with_gradients(definition, graph, graph.edge_index)
    found, effects = run_with_gradients(conv, graph, graph.adjacency)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(effects, expected_effects, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("conv", CONVS)
class TestDefinition:
    @pytest.mark.parametrize("name", graphs.NAMES)
    @pytest.mark.parametrize("heads", [1, 4])
    @pytest.mark.parametrize("norm", NORMS)
    def test_equals_the_equation(self, conv, name, heads, norm):
        graph, conv = graphs.make(name), make_conv(conv, heads=heads, norm=norm)
        source, target = graph.edge_index
        rows = [
            EQUATIONS[type(conv)](conv, graph.target[i], graph.source[source[target == i]])
            for i in range(graph.target.size(0))
        ]
        for adjacency in (graph.adjacency, graph.edge_index):
            torch.testing.assert_close(conv(graph.x, adjacency), torch.stack(rows), rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("name", ["table", "irregular"])
    def test_commutes_with_a_permutation_of_the_nodes(self, conv, name):
        graph, conv = graphs.make(name), make_conv(conv, norm="batch", heads=2)
        order = torch.randperm(graph.target.size(0))
        rank = order.argsort()  # new index of every node
        permuted = conv(graph.x[order], rank[graph.edge_index])
        torch.testing.assert_close(permuted, conv(graph.x, graph.adjacency)[order])

    def test_torch_geometric_takes_it_for_a_conv(self, conv):
        graph, conv = graphs.make("irregular", torch.float32), conv(CHANNELS, 24, norm="batch").eval()
        size = (graph.target.size(0), 24)
        assert_module(conv, graph.x, graph.edge_index, expected_size=size, atol=1e-5)

    def test_torch_geometric_takes_it_for_a_bipartite_conv(self, conv):
        graph, conv = graphs.make("bipartite irregular", torch.float32), conv(CHANNELS, 24).eval()
        sizes = graph.source.size(0), graph.target.size(0)
        assert_module(conv, graph.x, graph.edge_index, expected_size=(sizes[1], 24), sparse_size=sizes, atol=1e-5)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("train", MODES)
class TestFusedPath:
    @pytest.mark.parametrize("name", graphs.NAMES)
    @pytest.mark.parametrize("heads", [1, 2, 3, 4])
    @pytest.mark.parametrize("norm", NORMS)
    def test_equals_definition(self, conv, train, name, heads, norm):
        assert_fused_equals_definition(make_conv(conv, train=train, heads=heads, norm=norm), graphs.make(name))

    @pytest.mark.parametrize("act", [*_ACTIVATIONS, nn.PReLU(init=-0.5), nn.Softplus()], ids=str)
    @pytest.mark.parametrize("norm", ["batch", None])
    def test_any_activation(self, conv, train, act, norm):
        assert_fused_equals_definition(
            make_conv(conv, train=train, heads=2, norm=norm, act=copy.deepcopy(act)), graphs.make("irregular")
        )

    def test_any_batch_norm(self, conv, train):
        """Without bias; batch norm with cumulative average, no affine parameters, no statistics, or another eps."""
        for options in [{"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"eps": 0.1}]:
            layer = make_conv(conv, train=train, heads=4, norm="batch", bias=False)
            for update in [module for module in layer.modules() if hasattr(module, "norm")]:
                update.norm = graphs.randomize(nn.BatchNorm1d(update.norm.num_features, **options).double()).train(
                    train
                )
            assert_fused_equals_definition(layer, graphs.make("table"))

    def test_no_edges_leave_the_statistics_alone(self, conv, train):
        layer = make_conv(conv, train=train, norm="batch", heads=4)
        x, norm = torch.randn(5, CHANNELS).double(), next(m for m in layer.modules() if isinstance(m, nn.BatchNorm1d))
        before = norm.running_mean.clone(), norm.running_var.clone()
        edges = EdgeIndex(torch.empty(2, 0, dtype=torch.int64), sort_order="col", sparse_size=(5, 5))
        assert bool(layer(x, edges).isfinite().all())
        if conv in (EdgeConv, SAGEConv):  # the others normalise after the aggregation
            assert torch.equal(norm.running_mean, before[0])
            assert torch.equal(norm.running_var, before[1])

    def test_autocast_keeps_the_statistics_precise(self, conv, train):
        """Statistics over many rows must not be summed in bfloat16."""
        x, layer = torch.randn(500, CHANNELS), conv(CHANNELS, 24, norm="batch", heads=4).train(train)
        table = NeighborTable(torch.randint(500, (500, 9)), 500)
        definition = definition_of(layer)
        with torch.autocast("cpu", torch.bfloat16):
            out, expected = layer(x, table), definition(x, table.edge_index.as_tensor())
        torch.testing.assert_close(out.float(), expected.float(), rtol=0.05, atol=0.05)
        for found, wanted in zip(layer.buffers(), definition.buffers(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)

    def test_sparse_adjacency(self, conv, train):
        graph, layer = graphs.make("bipartite irregular"), make_conv(conv, train=train, norm="batch", heads=4)
        source, target = graph.edge_index
        size = (graph.target.size(0), graph.source.size(0))
        coo = torch.sparse_coo_tensor(torch.stack([target, source]), torch.ones(source.numel()).double(), size)
        expected = definition_of(layer)(graph.x, graph.edge_index)
        for adj_t in (coo.coalesce(), coo.to_sparse_csr(), coo.to_sparse_csr().t().to_sparse_csc().t()):
            torch.testing.assert_close(copy.deepcopy(layer)(graph.x, adj_t), expected)

    def test_sparse_adjacency_is_converted_once(self, conv, train, monkeypatch):
        graph, layer = graphs.make("irregular"), make_conv(conv, train=train, norm="batch", heads=4)
        adj_t = torch.sparse_coo_tensor(graph.edge_index.flip(0), torch.ones(graph.edge_index.size(1)), (9, 9))
        convert, calls = Tensor.to_sparse_csr, []
        monkeypatch.setattr(Tensor, "to_sparse_csr", lambda matrix: calls.append(1) or convert(matrix))
        layer(graph.x.requires_grad_(), adj_t.coalesce()).sum().backward()
        assert len(calls) == 1

    def test_holds_no_row_per_edge(self, conv, train):
        """Autograd saves no tensor with a row per edge: 60 nodes with 40 neighbours each."""
        table = NeighborTable(torch.stack([torch.randperm(60)[:40] for _ in range(60)]), 60)
        layer = make_conv(conv, train=train, norm="batch", heads=4).float()
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            layer(torch.randn(60, CHANNELS, requires_grad=True), table)
        assert max(kept) < 60 * 40 * CHANNELS / 4


@pytest.mark.parametrize("conv", CONVS)
class TestGradients:
    @pytest.mark.parametrize("name", ["table", "bipartite irregular"])
    def test_gradcheck(self, conv, name):
        graph, layer = graphs.make(name), make_conv(conv, train=True, norm="batch", out=4)
        inputs = [rows.requires_grad_() for rows in ([*graph.x] if isinstance(graph.x, tuple) else [graph.x])]

        def run(*x: Tensor) -> Tensor:
            return layer(x if len(x) == 2 else x[0], graph.adjacency)

        assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("conv", CONVS)
class TestCompiled:
    def test_step_on_a_table_equals_eager(self, conv):
        torch._dynamo.reset()
        graph, layer = graphs.make("table"), TableConv(make_conv(conv, train=True, norm="batch", heads=4))
        expected = run_with_gradients(copy.deepcopy(layer), graph, graph.adjacency.index)
        backend = "inductor" if conv is EdgeConv else "aot_eager"  # code generation is slow: only for the most complex
        compiled = torch.compile(layer, fullgraph=True, backend=backend)
        found = run_with_gradients(compiled, graph, graph.adjacency.index)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("train", MODES)
    def test_plain_edge_index(self, conv, train):
        torch._dynamo.reset()
        graph, layer = graphs.make("bipartite irregular"), make_conv(conv, train=train, norm="batch")
        expected = copy.deepcopy(layer)(graph.x, graph.edge_index)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(graph.x, graph.edge_index), expected)


@pytest.mark.parametrize("conv", CONVS)
class TestTools:
    @pytest.mark.parametrize("sort_order", [None, "col"])
    def test_explainer_sees_the_edges(self, conv, sort_order):
        graph, layer = graphs.make("irregular", torch.float32), conv(CHANNELS, 3, norm="batch").eval()
        explainer = Explainer(
            layer,
            GNNExplainer(epochs=5),
            explanation_type="model",
            node_mask_type="attributes",
            edge_mask_type="object",
            model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
        )
        size = (graph.target.size(0),) * 2
        edges = (
            graph.edge_index if sort_order is None else EdgeIndex(graph.edge_index, sort_order="col", sparse_size=size)
        )
        explanation = explainer(graph.x, edges)
        assert explanation.edge_mask.shape == (graph.edge_index.size(1),)
        assert explanation.node_mask.shape == graph.x.shape
        assert explanation.edge_mask.std() > 0

    def test_copies_and_files(self, conv):
        graph, layer = graphs.make("table"), make_conv(conv, norm="batch", heads=4, act="prelu")
        expected, buffer = layer(graph.x, graph.adjacency), io.BytesIO()
        torch.save(layer, buffer)
        buffer.seek(0)
        for other in [
            copy.deepcopy(layer),
            pickle.loads(pickle.dumps(layer)),
            torch.load(buffer, weights_only=False),
        ]:
            assert torch.equal(other(graph.x, graph.adjacency), expected)
        fresh = conv(CHANNELS, 24, norm="batch", heads=4, act="prelu").double().eval()
        fresh.load_state_dict(layer.state_dict())
        assert torch.equal(fresh(graph.x, graph.adjacency), expected)

    def test_repr(self, conv):
        assert repr(conv(8, 32)) == f"{conv.__name__}(8, 32)"

    def test_reset_parameters_draws_all_anew(self, conv):
        layer = make_conv(conv, norm="batch")
        weights = {name: value.clone() for name, value in layer.named_parameters() if "weight" in name}
        layer.reset_parameters()
        assert all(not torch.equal(value, weights[name]) for name, value in layer.named_parameters() if name in weights)
        for norm in (module for module in layer.modules() if isinstance(module, nn.BatchNorm1d)):
            assert bool((norm.running_var == 1).all())
            assert int(norm.num_batches_tracked) == 0

    def test_heads_that_do_not_fit(self, conv):
        with pytest.raises(ValueError, match="got 5 for"):
            conv(CHANNELS, 24, heads=5)


def test_activation_that_is_not_quasi_convex_takes_the_definition():
    layer, graph = make_conv(EdgeConv, norm="batch", act=Wave()), graphs.make("table")
    assert_fused_equals_definition(layer.train(), graph)
    ends_only = layer.message_and_aggregate(graph.adjacency, (graph.source, graph.target))
    assert not torch.allclose(ends_only, layer(graph.x, graph.adjacency))


def test_activation_with_a_slope_per_channel_takes_the_definition():
    assert_fused_equals_definition(make_conv(EdgeConv, heads=2, act=nn.PReLU(24)), graphs.make("table"))


REPLACEMENTS = {
    "GroupNorm": ("norm", lambda update, width: nn.GroupNorm(2, width)),
    "LayerNorm": ("norm", lambda update, width: nn.LayerNorm(width)),
    "PyG's BatchNorm": ("norm", lambda update, width: PyGBatchNorm(width)),
    "activation": ("act", lambda update, width: Wave()),
    "linear": ("linear", lambda update, width: nn.Linear(update.linear.in_features, width)),
}


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_what_the_fused_path_knows_nothing_of_takes_the_definition(conv, train, replacement):
    layer, (part, make) = make_conv(conv, train=train, norm="batch"), REPLACEMENTS[replacement]
    for update in [module for module in layer.modules() if isinstance(module, NodeUpdate)]:
        setattr(update, part, make(update, update.linear.weight.size(0)).double().train(train))
    for name in ("table", "irregular"):
        assert_fused_equals_definition(layer, graphs.make(name))


@pytest.mark.parametrize("conv", [EdgeConv, SAGEConv])
def test_an_edge_index_in_int32(conv):
    graph, layer = graphs.make("irregular"), make_conv(conv, train=True, norm="batch")
    expected = copy.deepcopy(layer)(graph.x, graph.adjacency)
    torch.testing.assert_close(layer(graph.x, graph.adjacency.to(torch.int32)), expected)


@pytest.mark.parametrize("conv", [*CONVS, CrossAttentionConv])
@pytest.mark.parametrize("widths", [(-1, 8), ((4, 4), 8), (4, 0)])
def test_widths_that_make_no_sense(conv, widths):
    with pytest.raises(ValueError, match=re.escape(f"got {widths[0]} and {widths[1]}")):
        conv(*widths)


@pytest.mark.parametrize("conv", CONVS)
def test_a_pair_without_destinations(conv):
    with pytest.raises(ValueError, match="features of source and destination nodes"):
        conv(4, 4)((torch.rand(3, 4), None), torch.tensor([[0, 1], [1, 2]]))


@pytest.mark.parametrize("conv", [EdgeConv, SAGEConv])
def test_synchronised_batch_norm_of_one_process(conv):
    layer = make_conv(conv, train=True, norm="batch", heads=4)
    assert_fused_equals_definition(nn.SyncBatchNorm.convert_sync_batchnorm(layer), graphs.make("irregular"))


def test_max_relative_is_bit_identical():
    graph, layer = graphs.make("table", torch.float32), MaxRelativeConv(CHANNELS, 24, heads=4).eval()
    assert torch.equal(layer(graph.x, graph.adjacency), layer(graph.x, graph.edge_index))


@pytest.mark.parametrize("heads", [1, 2])
def test_batch_norm_over_edges_much_shorter_than_the_cloud(heads):
    torch.manual_seed(0)
    points = (50 * torch.randn(20, 3)).repeat_interleave(50, 0) + 0.1 * torch.randn(1000, 3)
    table = knn_table(points, 9, Layout.from_equal(1, 1000))
    conv = EdgeConv(3, 16, norm="batch", heads=heads, act="relu").train()
    twin = copy.deepcopy(conv).double()
    torch.testing.assert_close(conv(points, table), twin(points.double(), table).float(), rtol=0, atol=0.01)


def test_graphs_of_more_nodes_than_rows_are_refused() -> None:
    edge_index = EdgeIndex(torch.tensor([[0, 1], [1, 0]]), sort_order="col", sparse_size=(9, 9))
    with pytest.raises(ValueError, match=r"sparse_size \(9, 9\), but x has \(4, 4\)"):
        MaxRelativeConv(8, 8)(torch.rand(4, 8), edge_index)
