from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer
from torch_geometric.testing import assert_module

from pyg_vig.graph import Adjacency, CrissCross, NeighborTable, neighbor_dot, svga_graph
from pyg_vig.nn import CrossAttentionConv, conv_resolver
from tests.nn.conv import graphs
from tests.nn.conv.graphs import CHANNELS, Graph

AFFINITIES = ["exponential", "softmax", "sigmoid", "cosine"]


def make_conv(out: int = 24, *, train: bool = False, **options) -> CrossAttentionConv:
    conv = graphs.randomize(CrossAttentionConv(CHANNELS, out, **options).double()).train(train)
    with torch.no_grad():
        conv.log_beta.div_(2)
    return conv


def attention_by_loop(conv: CrossAttentionConv, graph: Graph) -> tuple[Tensor, Tensor]:
    """Evaluate the equations by node and head; return the aggregated messages and the attention weights."""
    source, target = graph.edge_index
    sums, weights = [], torch.empty(source.numel(), conv.heads, dtype=torch.float64)
    for i, node in enumerate(graph.target):
        edges, parts = (target == i).nonzero().flatten(), []
        neighbors = graph.source[source[edges]]
        q = conv.query(node).chunk(conv.heads)
        k, v = (layer(neighbors).chunk(conv.heads, 1) for layer in (conv.key, conv.value))
        for head in range(conv.heads):
            beta = conv.log_beta[head].exp()
            norms = torch.sqrt((q[head].square().sum() + 1e-6) * (k[head].square().sum(1) + 1e-6))
            cosine = k[head] @ q[head] / norms
            alpha = {
                "exponential": torch.exp(beta * cosine - beta),
                "softmax": torch.softmax(beta * cosine, 0),
                "sigmoid": 1 / (1 + torch.exp(-beta * cosine)),
                "cosine": beta * cosine,
            }[conv.affinity]
            weights[edges, head] = alpha.detach()
            parts.append((alpha.unsqueeze(1) * v[head]).sum(0) / (max(len(edges), 1) if conv.aggr == "mean" else 1))
        sums.append(torch.cat(parts))
    return torch.stack(sums), weights


def clique_graphs(loop: bool = False) -> tuple[Graph, Graph]:
    """Return the same graph as cliques and as an edge list."""
    graph = CrissCross(2, 4, 6, 2, loop=loop)
    x = torch.randn(graph.num_src, CHANNELS, dtype=torch.float64)
    return Graph(x, graph), Graph(x, svga_graph(4, 6, 2, loop=loop, batch_size=2))


def run_with_gradients(conv: CrossAttentionConv, graph: Graph, adjacency: object) -> list[Tensor]:
    """Return output, gradients with respect to inputs and parameters, and statistics after the step."""
    leaves = [rows.detach().clone().requires_grad_() for rows in (graph.source, graph.target)]
    x = (leaves[0], leaves[1]) if isinstance(graph.x, tuple) else leaves[0]
    out = conv(x, adjacency)
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    wanted = [*leaves[: 1 + isinstance(x, tuple)], *conv.parameters()]
    gradients = torch.autograd.grad((out * weight).sum(), wanted)
    return [out, *gradients, *(buffer.clone() for buffer in conv.buffers())]


class TestDefinition:
    @pytest.mark.parametrize("name", graphs.NAMES)
    @pytest.mark.parametrize("affinity", AFFINITIES)
    @pytest.mark.parametrize(("heads", "normalize"), [(1, "sum"), (3, "mean")])
    def test_equals_a_loop_over_nodes(self, name, affinity, heads, normalize):
        graph, conv = graphs.make(name), make_conv(heads=heads, affinity=affinity, normalize=normalize, norm="batch")
        total, weights = attention_by_loop(conv, graph)
        expected = conv.nn(graph.target, total)
        for adjacency in (graph.adjacency, graph.edge_index):
            torch.testing.assert_close(conv(graph.x, adjacency), expected, rtol=1e-10, atol=1e-10)
            _, (edges, alpha) = conv(graph.x, adjacency, return_attention_weights=True)
            assert torch.equal(torch.as_tensor(edges), graph.edge_index)
            torch.testing.assert_close(alpha, weights, rtol=1e-10, atol=1e-10)

    def test_update_sees_node_and_sum_in_turn(self):
        """The channels of node and sum alternate, so that both reach every group of the update."""
        graph, conv = graphs.make("table"), make_conv(update_heads=4, act=None)
        total, _ = attention_by_loop(conv, graph)
        rows = torch.stack([graph.target, total], -1).flatten(1)  # x_0, t_0, x_1, t_1, ...
        weight = torch.block_diag(*conv.nn.linear.weight.chunk(4))
        expected = rows @ weight.T + conv.nn.linear.bias
        torch.testing.assert_close(conv(graph.x, graph.adjacency), expected, rtol=1e-10, atol=1e-10)

    def test_commutes_with_a_permutation_of_the_nodes(self):
        graph, conv = graphs.make("irregular"), make_conv(heads=2)
        order = torch.randperm(graph.target.size(0))
        permuted = conv(graph.x[order], order.argsort()[graph.edge_index])
        torch.testing.assert_close(permuted, conv(graph.x, graph.adjacency)[order])

    def test_starts_with_temperature_one(self):
        assert CrossAttentionConv(8, 8, heads=2).log_beta.exp().tolist() == [1, 1]

    def test_torch_geometric_takes_it_for_a_conv(self):
        graph, conv = graphs.make("irregular", torch.float32), CrossAttentionConv(CHANNELS, 24, heads=2)
        assert_module(conv, graph.x, graph.edge_index, expected_size=(graph.target.size(0), 24), atol=1e-5)

    def test_torch_geometric_takes_it_for_a_bipartite_conv(self):
        graph, conv = graphs.make("bipartite irregular", torch.float32), CrossAttentionConv(CHANNELS, 24)
        sizes = graph.source.size(0), graph.target.size(0)
        assert_module(conv, graph.x, graph.edge_index, expected_size=(sizes[1], 24), sparse_size=sizes, atol=1e-5)


class TestWeights:
    def test_of_softmax_sum_to_one(self):
        graph, conv = graphs.make("irregular"), make_conv(heads=3, affinity="softmax")
        for adjacency in (graph.adjacency, graph.edge_index):
            _, (edges, alpha) = conv(graph.x, adjacency, return_attention_weights=True)
            total = torch.zeros(graph.target.size(0), 3).double().index_add_(0, torch.as_tensor(edges[1]), alpha)
            linked = torch.bincount(graph.edge_index[1], minlength=len(total)) > 0
            torch.testing.assert_close(total, linked.double().unsqueeze(1).expand(-1, 3))

    @pytest.mark.parametrize("affinity", AFFINITIES)
    def test_of_a_neighbour_do_not_depend_on_the_others_but_in_softmax(self, affinity):
        graph, conv = graphs.make("table"), make_conv(heads=2, affinity=affinity)
        index = torch.cat([graph.adjacency.index, graph.adjacency.index.flip(0)[:, :1]], 1)
        more = NeighborTable(index, graph.adjacency.num_src)
        _, (_, alpha) = conv(graph.x, graph.adjacency, return_attention_weights=True)
        _, (_, with_another) = conv(graph.x, more, return_attention_weights=True)
        unchanged = torch.allclose(with_another.view(-1, 4, 2)[:, :3], alpha.view(-1, 3, 2), rtol=1e-12)
        assert unchanged == (affinity != "softmax")

    def test_exponential_ones_lie_between_zero_and_one(self):
        graph, conv = graphs.make("irregular"), make_conv(heads=2)
        _, (_, alpha) = conv(graph.x, graph.edge_index, return_attention_weights=True)
        assert 0 < alpha.min() < alpha.max() <= 1

    @pytest.mark.parametrize("name", graphs.NAMES)
    def test_come_with_the_edges_in_their_order(self, name):
        graph, conv = graphs.make(name), make_conv(heads=2)
        out, (edges, alpha) = conv(graph.x, graph.adjacency, return_attention_weights=True)
        assert torch.equal(torch.as_tensor(edges), graph.edge_index)
        order = torch.randperm(edges.size(1))
        again, (shuffled, of_shuffled) = conv(graph.x, graph.edge_index[:, order], return_attention_weights=True)
        assert torch.equal(shuffled, graph.edge_index[:, order])
        torch.testing.assert_close(of_shuffled, alpha[order])
        torch.testing.assert_close(again, out)


@pytest.mark.parametrize("train", [False, True])
class TestFusedPath:
    @pytest.mark.parametrize("name", graphs.NAMES)
    @pytest.mark.parametrize("affinity", AFFINITIES)
    @pytest.mark.parametrize(("heads", "normalize"), [(1, "mean"), (2, "sum")])
    def test_equals_definition(self, train, name, affinity, heads, normalize):
        options = {"heads": heads, "normalize": normalize, "affinity": affinity, "update_heads": 4, "norm": "batch"}
        graph, conv = graphs.make(name), make_conv(train=train, **options)
        expected = run_with_gradients(copy.deepcopy(conv), graph, graph.edge_index)
        found = run_with_gradients(copy.deepcopy(conv), graph, graph.adjacency)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        conv.fuse = False
        found = run_with_gradients(conv, graph, graph.adjacency)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("loop", [False, True])
    @pytest.mark.parametrize("affinity", AFFINITIES)
    def test_on_cliques(self, train, affinity, loop):
        conv = make_conv(train=train, heads=2, affinity=affinity, norm="batch")
        cliques, edges = clique_graphs(loop)
        expected = run_with_gradients(copy.deepcopy(conv), edges, edges.edge_index)
        for adjacency in (cliques.adjacency, edges.adjacency):
            found = run_with_gradients(copy.deepcopy(conv), edges, adjacency)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("loop", [False, True])
    @pytest.mark.parametrize(("affinity", "normalize"), [(a, "sum") for a in AFFINITIES] + [("exponential", "mean")])
    def test_in_dense_products_of_cliques(self, train, affinity, normalize, loop, monkeypatch):
        """The path for accelerators and compilers."""
        for module in ("pyg_vig.graph.reduce", "pyg_vig.nn.conv.cross_attention_conv"):
            monkeypatch.setattr(f"{module}.needs_fallback", lambda x: True)
        conv = make_conv(train=train, heads=2, affinity=affinity, normalize=normalize, norm="batch")
        cliques, edges = clique_graphs(loop)
        expected = run_with_gradients(copy.deepcopy(conv), edges, edges.edge_index)
        found = run_with_gradients(copy.deepcopy(conv), cliques, cliques.adjacency)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("affinity", ["exponential", "softmax"])
    def test_sparse_adjacency(self, train, affinity):
        graph, conv = graphs.make("bipartite irregular"), make_conv(train=train, heads=2, affinity=affinity)
        source, target = graph.edge_index
        size = (graph.target.size(0), graph.source.size(0))
        coo = torch.sparse_coo_tensor(torch.stack([target, source]), torch.ones(source.numel()).double(), size)
        expected = conv(graph.x, graph.edge_index)
        for adj_t in (coo.coalesce(), coo.to_sparse_csr()):
            torch.testing.assert_close(conv(graph.x, adj_t), expected)

    @pytest.mark.parametrize("form", ["table", "edges", "cliques"])
    def test_holds_no_row_per_edge(self, train, form):
        """Autograd saves no tensor with a row per edge: 144 nodes with 22 neighbours each."""
        cliques = CrissCross(1, 12, 12, 1)
        adjacency = {"table": NeighborTable(cliques.index, 144), "edges": cliques.edge_index, "cliques": cliques}[form]
        conv = CrossAttentionConv(32, 32, norm="batch").train(train)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            conv(torch.randn(144, 32, requires_grad=True), adjacency)
        assert max(kept) < 144 * 22 * 32 / 4


class TestGradients:
    @pytest.mark.parametrize("name", ["table", "bipartite irregular"])
    @pytest.mark.parametrize("affinity", AFFINITIES)
    def test_gradcheck(self, name, affinity):
        graph, conv = graphs.make(name), make_conv(4, train=True, norm="batch", heads=2, affinity=affinity)
        inputs = [rows.requires_grad_() for rows in ([*graph.x] if isinstance(graph.x, tuple) else [graph.x])]

        def run(beta: Tensor, *x: Tensor) -> Tensor:
            parameters = {"log_beta": beta}
            arguments = (x if len(x) == 2 else x[0], graph.adjacency)
            return torch.func.functional_call(conv, parameters, arguments)

        assert torch.autograd.gradcheck(run, [conv.log_beta.detach().requires_grad_(), *inputs])

    def test_gradcheck_on_cliques(self):
        graph, conv = CrissCross(1, 4, 4, 2), make_conv(4, heads=2)
        x = torch.randn(16, CHANNELS, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda rows: conv(rows, graph), x)

    def test_zero_nodes_have_finite_gradients(self):
        graph, conv = CrissCross(1, 4, 4, 2), CrossAttentionConv(8, 8, bias=False)
        x = torch.zeros(16, 8, requires_grad=True)
        conv(x, graph).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


class TestNumbers:
    FORMS = ("table", "edge_index", "plain", "cliques")

    def adjacency(self, form: str) -> Adjacency:
        graph = CrissCross(1, 4, 4, 2)
        table, edges = NeighborTable(graph.index, 16), graph.edge_index
        return {"table": table, "edge_index": edges, "plain": edges.as_tensor(), "cliques": graph}[form]

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("affinity", AFFINITIES)
    def test_autocast_computes_the_kernel_in_float32(self, form, dtype, affinity):
        conv, x = CrossAttentionConv(16, 16, heads=2, affinity=affinity), torch.randn(16, 16)
        with torch.autocast("cpu", dtype):
            out, (_, alpha) = conv(x, self.adjacency(form), return_attention_weights=True)
            query, key = (layer(x).float().view(16, 2, 8) for layer in (conv.query, conv.key))
        assert alpha.dtype == torch.float32
        assert out.dtype == dtype
        source, target = CrissCross(1, 4, 4, 2).edge_index.as_tensor()
        cosine = torch.cosine_similarity(query[target], key[source], dim=-1)
        if affinity == "exponential":
            torch.testing.assert_close(alpha, torch.exp(cosine - 1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out.float(), conv(x, self.adjacency(form)), rtol=0.1, atol=0.1)

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    @pytest.mark.parametrize("scale", [1e-30, 1e4, 1e18, 1e30, torch.finfo(torch.bfloat16).max])
    def test_weights_are_finite_at_any_finite_input(self, form, dtype, scale):
        conv = CrossAttentionConv(16, 16, heads=2)
        x = torch.rand(16, 16).mul(2).sub(1).sign() * scale
        if dtype == torch.float16:
            x = x.clamp(-65504, 65504)
        for rows, enabled in ((x, dtype != torch.float32), (x.to(dtype), False)):
            layer = copy.deepcopy(conv) if enabled else copy.deepcopy(conv).to(dtype)
            with torch.autocast("cpu", dtype if enabled else torch.bfloat16, enabled=enabled):
                _, (_, alpha) = layer(rows, self.adjacency(form), return_attention_weights=True)
            assert alpha.isfinite().all()
            assert 0 <= alpha.min() <= alpha.max() < 1.001

    @pytest.mark.parametrize("form", FORMS)
    def test_large_values_keep_their_direction(self, form):
        conv, x = CrossAttentionConv(16, 16, heads=2, bias=False), torch.randn(16, 16)
        _, (_, alpha) = conv(x, self.adjacency(form), return_attention_weights=True)
        _, (_, of_large) = conv(x * 1e15, self.adjacency(form), return_attention_weights=True)
        torch.testing.assert_close(of_large, alpha, rtol=1e-4, atol=1e-5)

    def test_gradients_stay_finite_at_large_values(self):
        conv, x = CrossAttentionConv(16, 16), torch.randn(16, 16).mul(1e25).requires_grad_()
        _, (_, alpha) = conv(x, self.adjacency("table"), return_attention_weights=True)
        alpha.sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()

    def test_low_precision_without_autocast(self):
        conv, x = CrossAttentionConv(16, 16).bfloat16(), torch.randn(16, 16).bfloat16()
        expected = conv.float()(x.float(), self.adjacency("plain"))
        conv.bfloat16()
        for form in self.FORMS:
            out = conv(x, self.adjacency(form))
            assert out.dtype == torch.bfloat16
            torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)


class TestCompiled:
    @pytest.mark.parametrize("form", ["table", "cliques"])
    @pytest.mark.parametrize(("affinity", "backend"), [("exponential", "inductor"), ("softmax", "aot_eager")])
    def test_step_equals_eager(self, form, affinity, backend):
        torch._dynamo.reset()
        cliques, _ = clique_graphs()
        conv = make_conv(train=True, heads=2, affinity=affinity, norm="batch")
        index = cliques.adjacency.index

        def run(layer: CrossAttentionConv, x: Tensor, index: Tensor) -> Tensor:
            graph = CrissCross(2, 4, 6, 2) if form == "cliques" else NeighborTable(index, x.size(0))
            return layer(x, graph)

        compiled = torch.compile(run, fullgraph=True, backend=backend)
        results = []
        for call in (compiled, run):
            layer, x = copy.deepcopy(conv), cliques.x.clone().requires_grad_()
            out = call(layer, x, index)
            results.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
        torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)

    def test_plain_edge_index(self):
        torch._dynamo.reset()
        graph, conv = graphs.make("bipartite irregular"), make_conv(heads=2)
        compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(graph.x, graph.edge_index), conv(graph.x, graph.edge_index))


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_no_nodes_and_no_neighbours(affinity):
    conv, x = make_conv(heads=2, affinity=affinity), torch.randn(3, CHANNELS, dtype=torch.float64)
    for graph in (CrissCross(0, 4, 6, 2), NeighborTable(torch.empty(0, 3, dtype=torch.int64), 0)):
        assert conv(x[:0], graph).shape == (0, 24)
    expected = conv.nn(x, torch.zeros_like(x))
    for graph in (CrissCross(3, 1, 1, 2), NeighborTable(torch.empty(3, 0, dtype=torch.int64), 3)):
        torch.testing.assert_close(conv(x, graph), expected)


class TestTools:
    def explain(self, conv: CrossAttentionConv, algorithm: torch.nn.Module, graph: Graph, edges: Tensor) -> Tensor:
        explainer = Explainer(
            conv,
            algorithm,
            explanation_type="model",
            edge_mask_type="object",
            node_mask_type="attributes" if isinstance(algorithm, GNNExplainer) else None,
            model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
        )
        return explainer(graph.x, edges).edge_mask

    @pytest.mark.parametrize("in_order", [False, True])
    def test_attention_explainer_reads_the_weights(self, in_order):
        graph, conv = graphs.make("irregular", torch.float32), CrossAttentionConv(CHANNELS, 3, heads=2).eval()
        edges = graph.adjacency if in_order else graph.edge_index
        mask = self.explain(conv, AttentionExplainer(), graph, edges)
        _, (_, alpha) = conv(graph.x, graph.edge_index, return_attention_weights=True)
        torch.testing.assert_close(mask, alpha.amax(1))

    @pytest.mark.parametrize("in_order", [False, True])
    def test_gnn_explainer_sees_the_edges(self, in_order):
        graph, conv = graphs.make("irregular", torch.float32), CrossAttentionConv(CHANNELS, 3, heads=2).eval()
        edges = EdgeIndex(graph.edge_index, sort_order="col", sparse_size=(9, 9)) if in_order else graph.edge_index
        mask = self.explain(conv, GNNExplainer(epochs=5), graph, edges)
        assert mask.shape == (graph.edge_index.size(1),)
        assert mask.std() > 0

    def test_reset_parameters_draws_all_anew(self):
        conv = make_conv(norm="batch")
        weights = {name: value.clone() for name, value in conv.named_parameters() if "weight" in name}
        conv.reset_parameters()
        assert all(not torch.equal(value, weights[name]) for name, value in conv.named_parameters() if name in weights)
        assert conv.log_beta.tolist() == [0]

    def test_repr(self):
        assert repr(CrossAttentionConv(8, 16)) == "CrossAttentionConv(8, 16)"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"heads": 5}, "heads must divide in_channels, got 5 for 12"),
            ({"update_heads": 5}, "divide in_channels and out_channels, got 5"),
            ({"affinity": "exp"}, "affinity must be one of exponential, sigmoid, cosine, softmax, got 'exp'"),
            ({"normalize": "max"}, "normalize must be 'sum' or 'mean', got 'max'"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(ValueError, match=message):
            CrossAttentionConv(CHANNELS, 24, **options)


class TestResolver:
    def test_heads_of_the_skeleton_are_groups_of_the_update(self):
        conv = conv_resolver("cross_attention", 16, 32, heads=4, norm="batch", act="relu")
        assert isinstance(conv, CrossAttentionConv)
        assert (conv.heads, conv.nn.linear.groups) == (1, 4)
        assert isinstance(conv.nn.act, torch.nn.ReLU)

    def test_heads_of_the_attention_are_asked_for(self):
        options = {"heads": 2, "affinity": "softmax"}
        conv = conv_resolver("cross_attention", 16, 32, heads=4, conv_kwargs=options)
        assert (conv.heads, conv.nn.linear.groups, conv.affinity) == (2, 4, "softmax")


class TestNeighborDot:
    @pytest.mark.parametrize("name", graphs.NAMES)
    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_equals_gathered_products(self, name, dtype):
        graph = graphs.make(name, dtype)
        source, target = graph.edge_index
        expected = (graph.target[target] * graph.source[source]).sum(-1)
        torch.testing.assert_close(neighbor_dot(graph.target, graph.source, graph.adjacency), expected)

    @pytest.mark.parametrize("name", graphs.NAMES)
    def test_gradients_of_both_orders(self, name):
        graph = graphs.make(name)
        inputs = (graph.target[:, :3].clone().requires_grad_(), graph.source[:, :3].clone().requires_grad_())
        assert torch.autograd.gradcheck(lambda x, y: neighbor_dot(x, y, graph.adjacency), inputs)
        assert torch.autograd.gradgradcheck(lambda x, y: neighbor_dot(x, y, graph.adjacency), inputs)
