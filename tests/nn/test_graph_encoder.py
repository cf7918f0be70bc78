from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import FakeDataset, KarateClub
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GINEConv, summary
from torch_geometric.utils import coalesce, to_torch_csr_tensor

import pyg_vig
from pyg_vig.graph import KNNGraph
from pyg_vig.nn import GraphEncoder, ViGBlock
from pyg_vig.nn.conv.resolver import CONVS

ALL_CONVS = [*CONVS, "GCNConv", "SAGEConv", "GATv2Conv", "TransformerConv", "GENConv", "ResGatedGraphConv"]
SIZES = [12, 20, 9]


def encoder(**options) -> GraphEncoder:
    """Build a small encoder in evaluation mode, with non-trivial batch norm statistics."""
    options = {"depth": 3, "k": 4} | options
    model = GraphEncoder(6, 16, 5, **options).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval()


def graphs(sizes=SIZES) -> list[Data]:
    """Generate random graphs, each with an isolated last node."""
    return [
        Data(x=torch.randn(n, 6, dtype=torch.float64), edge_index=torch.randint(0, max(n - 1, 1), (2, 3 * n)), y=n)
        for n in sizes
    ]


@pytest.mark.parametrize("conv", ALL_CONVS)
@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("pool", ["mean", "max", "sum", None])
def test_a_batch_gives_what_its_members_give_one_by_one(conv, dynamic, pool):
    model, members = encoder(conv=conv, pool=pool, dilated=True, depth=5), graphs()
    batch = Batch.from_data_list(members)
    edges = None if dynamic else batch.edge_index
    together = model(batch.x, edges, batch=batch.batch)
    single = [model(data.x, None if dynamic else data.edge_index) for data in members]
    torch.testing.assert_close(together, torch.cat(single), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("conv", ALL_CONVS)
def test_commutes_with_the_order_of_nodes_and_edges(conv):
    model, data = encoder(conv=conv, pool=None), graphs()[0]
    order = torch.randperm(12)
    place = order.argsort()
    edges = place[data.edge_index][:, torch.randperm(36)]
    torch.testing.assert_close(model(data.x[order], edges), model(data.x, data.edge_index)[order])
    torch.testing.assert_close(model(data.x[order]), model(data.x)[order])


def test_is_made_of_the_blocks_of_the_image_networks():
    model = encoder(depth=3, heads=4)
    assert [type(block) for block in model.blocks] == [ViGBlock] * 3
    assert model.blocks[0].grapher.conv.nn.linear.groups == 4


def test_dynamic_graphs_are_those_of_the_features_that_enter_the_block():
    model, data = encoder(depth=4, rebuild_every=2), graphs()[0]
    entering = []
    model.blocks[2].register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    with pyg_vig.record_graphs(model) as recorded:
        model(data.x)
    assert len(recorded) == 4
    assert torch.equal(recorded[0], recorded[1])
    assert torch.equal(recorded[2], recorded[3])
    assert torch.equal(recorded[2], KNNGraph(k=4)(entering[0]).edge_index)
    assert not torch.equal(recorded[0], recorded[2])


@pytest.mark.parametrize("graph", ["knn", KNNGraph])
def test_options_of_the_graph_reach_the_builders(graph):
    model = encoder(graph=graph, dilation=2, dilated=True, epsilon=0.5, graph_kwargs={"loop": False}, depth=5)
    assert [built.dilation for built in model.graphs] == [2] * 4 + [3]
    assert all((built.k, built.epsilon, built.loop) == (4, 0.5, False) for built in model.graphs)


def test_given_edges_are_used_and_sorted_once():
    model, data = encoder(), graphs()[0]
    with pyg_vig.record_graphs(model) as recorded:
        model(data.x, data.edge_index)
    assert all(edges is recorded[0] for edges in recorded)
    assert isinstance(recorded[0], EdgeIndex)
    assert recorded[0].is_sorted_by_col
    assert sorted(recorded[0].t().tolist()) == sorted(data.edge_index.t().tolist())


@pytest.mark.parametrize("jumping", ["cat", "max", "lstm"])
def test_jumping_connections(jumping):
    model, data = encoder(jumping=jumping), graphs()[0]
    assert model(data.x, data.edge_index).shape == (1, 5)
    model.reset_parameters()


def test_reset_parameters_draws_all_anew_and_repeats_with_the_seed():
    model = GraphEncoder(6, 16, 5, conv="gin", norm="layer", jumping="lstm", layer_scale=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value.fill_(7)
    model.reset_parameters()
    assert not any((value == 7).all() for value in model.state_dict().values())
    constant = {name for name, value in before.items() if value.unique().numel() == 1 and "jump" not in name}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in constant)
    torch.manual_seed(3)
    model.reset_parameters()
    first = model.embed.linear.weight.clone()
    torch.manual_seed(3)
    model.reset_parameters()
    assert torch.equal(first, model.embed.linear.weight)


class TestSizes:
    @pytest.mark.parametrize("conv", ALL_CONVS)
    def test_empty_graphs_in_a_batch(self, conv):
        model, members = encoder(conv=conv), graphs()
        batch = torch.tensor([0] * 12 + [2] * 20 + [3] * 9)
        x, edges = torch.cat([data.x for data in members]), Batch.from_data_list(members).edge_index
        for given in (None, edges):
            out = model(x, given, batch=batch, batch_size=6)
            assert out.shape == (6, 5)
            rows = model(x, given, batch=torch.tensor([0] * 12 + [1] * 20 + [2] * 9))
            torch.testing.assert_close(out[[0, 2, 3]], rows)
            torch.testing.assert_close(out[[1, 4, 5]], model.head(out.new_zeros(3, 16)))

    @pytest.mark.parametrize("conv", ALL_CONVS)
    @pytest.mark.parametrize("dynamic", [True, False])
    @pytest.mark.parametrize(("pool", "rows"), [("mean", 1), ("max", 1), (None, 0)])
    def test_no_nodes_at_all(self, conv, dynamic, pool, rows):
        x, edges = torch.zeros(0, 6, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.int64)
        out = encoder(conv=conv, heads=2, pool=pool)(x, None if dynamic else edges)
        assert out.shape == (rows, 5)
        assert out.isfinite().all()

    @pytest.mark.parametrize("conv", ALL_CONVS)
    def test_single_node(self, conv):
        x = torch.randn(1, 6, dtype=torch.float64)
        assert encoder(conv=conv)(x, torch.zeros(2, 0, dtype=torch.int64)).isfinite().all()
        assert encoder(conv=conv, k=1)(x).isfinite().all()

    def test_equal_graphs_without_a_batch_vector(self):
        model, x = encoder(), torch.randn(24, 6, dtype=torch.float64)
        expected = model(x, batch=torch.arange(3).repeat_interleave(8))
        torch.testing.assert_close(model(x, batch_size=3), expected)

    def test_small_graphs_have_a_smaller_dilation_but_not_fewer_neighbours(self):
        model = encoder(dilated=True, depth=9)
        assert [graph.dilation for graph in model.graphs] == [1] * 4 + [2] * 4 + [3]
        model(torch.randn(24, 6, dtype=torch.float64), batch=torch.tensor([0] * 4 + [1] * 20))


class TestEdgeFeatures:
    @pytest.mark.parametrize(
        ("conv", "edge_dim"),
        [
            ("GATv2Conv", 3),
            ("TransformerConv", 3),
            ("GENConv", 3),
            ("GCNConv", 1),
            (lambda i, o: GINEConv(nn.Linear(i, o), edge_dim=3), 3),
        ],
    )
    def test_reach_the_conv_in_the_order_of_the_edges(self, conv, edge_dim):
        model, data = encoder(conv=conv, edge_dim=edge_dim, pool=None), graphs()[0]
        edge_attr = torch.rand(36, edge_dim, dtype=torch.float64)
        out = model(data.x, data.edge_index, edge_attr)
        order = torch.randperm(36)
        torch.testing.assert_close(model(data.x, data.edge_index[:, order], edge_attr[order]), out)
        assert not torch.allclose(model(data.x, data.edge_index, edge_attr.flip(0)), out)

    def test_one_weight_per_edge_may_be_a_vector(self):
        model, data = encoder(conv="GCNConv", edge_dim=1), graphs()[0]
        weight = torch.rand(36, dtype=torch.float64)
        out = model(data.x, data.edge_index, weight)
        torch.testing.assert_close(model(data.x, data.edge_index, weight.unsqueeze(1)), out)

    @pytest.mark.parametrize("conv", ["max_relative", "SAGEConv"])
    def test_conv_without_edge_features(self, conv):
        with pytest.raises(ValueError, match="takes no edge features"):
            encoder(conv=conv, edge_dim=3)

    def test_edge_attr_that_does_not_fit(self):
        model, data = encoder(conv="GATv2Conv", edge_dim=3), graphs()[0]
        with pytest.raises(ValueError, match=r"edge_dim=3, but got none"):
            model(data.x, data.edge_index)
        with pytest.raises(ValueError, match=r"\(E, edge_dim\) = \(36, 3\), got \(35, 3\)"):
            model(data.x, data.edge_index, torch.rand(35, 3, dtype=torch.float64))
        with pytest.raises(ValueError, match="pass the edge_index"):
            model(data.x, None, torch.rand(36, 3, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"edge_dim=None, but got torch.float64 of shape \(36, 3\)"):
            encoder()(data.x, data.edge_index, torch.rand(36, 3, dtype=torch.float64))


class TestBadInput:
    @pytest.mark.parametrize(
        ("edges", "message"),
        [
            (torch.tensor([[0, 12], [0, 1]]), "refers to nodes 0 to 12, but there are only nodes 0 to 11"),
            (torch.tensor([[0, -1], [0, 1]]), "refers to nodes -1 to 1"),
            (torch.tensor([[0.0], [1.0]]), "must be int64 of shape"),
            (torch.tensor([[0], [1]], dtype=torch.bool), "got torch.bool"),
            (torch.tensor([[0, 1, 2]] * 3), r"got torch.int64 of shape \(3, 3\)"),
            (torch.tensor([0, 1]), r"of shape \(2,\)"),
            (EdgeIndex([[99], [0]], sort_order="col", sparse_size=(12, 12)), "refers to nodes 0 to 99"),
        ],
    )
    def test_edge_index(self, edges, message):
        with pytest.raises(ValueError, match=message):
            encoder()(graphs()[0].x, edges)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.rand(12, 7), r"shape \(N, 6\), got \(12, 7\)"),
            (torch.rand(2, 6, 6), r"got \(2, 6, 6\)"),
            (torch.rand(6), r"got \(6,\)"),
            (torch.ones(12, 6, dtype=torch.int64), r"floating point, got torch.int64"),
            (graphs()[0], r"must be a tensor, got Data: pass data.x"),
        ],
    )
    def test_x(self, x, message):
        with pytest.raises(ValueError, match=message):
            encoder()(x)

    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            (torch.zeros(11, dtype=torch.int64), "each of the 12 nodes, got 11"),
            (torch.tensor([0, 1] * 6), "must be sorted"),
            (torch.zeros(12), "integer vector"),
            (torch.full((12,), 3), "refers to graph 3, but num_graphs is 3"),
        ],
    )
    def test_batch(self, batch, message):
        with pytest.raises(ValueError, match=message):
            encoder()(graphs()[0].x, batch=batch, batch_size=3)

    def test_batch_of_any_whole_numbers(self):
        model, batch = encoder(), Batch.from_data_list(graphs())
        for edges in (None, batch.edge_index):
            expected = model(batch.x, edges, batch=batch.batch)
            torch.testing.assert_close(model(batch.x, edges, batch=batch.batch.int()), expected)

    def test_batch_size_that_does_not_divide(self):
        with pytest.raises(ValueError, match="12 nodes cannot be divided into 5 graphs of equal size"):
            encoder()(graphs()[0].x, batch_size=5)

    def test_k_larger_than_a_graph(self):
        with pytest.raises(ValueError, match="k=9 neighbours requested from a graph with 7 nodes"):
            encoder(k=9)(torch.rand(19, 6, dtype=torch.float64), batch=torch.tensor([0] * 12 + [1] * 7))

    def test_nan_stays_in_its_graph(self):
        model, members = encoder(), graphs()
        batch = Batch.from_data_list(members)
        x = batch.x.clone()
        x[3, 2] = torch.nan
        for edges in (None, batch.edge_index):
            out, clean = (model(rows, edges, batch=batch.batch) for rows in (x, batch.x))
            assert out[0].isnan().all()
            torch.testing.assert_close(out[1:], clean[1:])

    @pytest.mark.parametrize("name", ["edge_index", "batch"])
    def test_mixed_devices(self, name):
        data = graphs()[0]
        other = {"edge_index": data.edge_index, "batch": torch.zeros(12, dtype=torch.int64)}[name].to("meta")
        with pytest.raises(ValueError, match=f"x and {name} must be on the same device, got cpu and meta"):
            encoder()(data.x, **{name: other})

    def test_graph_given_needs_edges(self):
        with pytest.raises(ValueError, match="graph='given' needs an edge_index"):
            encoder(graph="given")(graphs()[0].x)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pool": "median"}, "got 'median'"),
            ({"jumping": "mean"}, "jumping must be 'cat', 'max', 'lstm' or None, got 'mean'"),
            ({"depth": 0}, "at least 1"),
            ({"rebuild_every": 0}, "at least 1"),
            ({"reduction": 2}, "no options for image patches, got reduction"),
            ({"position": nn.Identity()}, "no options for image patches, got position"),
            ({"graph_kwargs": {"step": 4}}, "KNNGraph does not accept these graph_kwargs"),
            ({"graph": "delaunay"}, "unknown graph 'delaunay'"),
            ({"conv": "mrr"}, "unknown conv 'mrr'"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            encoder(**options)


class TestWithPyG:
    def test_learns_the_karate_club(self):
        data, known = KarateClub()[0], torch.arange(34) % 3 != 0
        model = GraphEncoder(data.num_features, 16, 4, depth=2, pool=None, conv="gin", ffn=False)
        optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=5e-4)
        for _ in range(60):
            optimizer.zero_grad()
            out = model(data.x, data.edge_index)
            nn.functional.cross_entropy(out[known], data.y[known]).backward()
            optimizer.step()
        correct = model.eval()(data.x, data.edge_index).argmax(1) == data.y
        assert correct[known].all()
        assert correct[~known].double().mean() > 0.6

    def test_trains_on_a_ragged_batch_with_drop_path(self):
        batch = Batch.from_data_list(list(FakeDataset(num_graphs=4, avg_num_nodes=30, num_channels=6)))
        model = GraphEncoder(6, 16, 5, k=4, drop_rate=0.1, drop_path_rate=0.5)
        model(batch.x, batch=batch.batch).sum().backward()
        model(batch.x, batch.edge_index, batch=batch.batch).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_explained_edges_are_those_given(self):
        """The mask is in the given order of edges: only the edges on the path to node 0 matter."""
        edges = torch.tensor([[5, 1, 3, 2], [4, 0, 2, 1]])
        model = GraphEncoder(6, 16, 2, depth=2, pool=None, fc=False, ffn=False).eval()
        explainer = Explainer(
            model,
            GNNExplainer(epochs=5),
            explanation_type="model",
            edge_mask_type="object",
            model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
        )
        mask = explainer(torch.randn(6, 6), edges, index=0).edge_mask
        assert (mask > 0).tolist() == [False, True, False, True]

    @pytest.mark.parametrize("conv", ALL_CONVS)
    def test_a_sparse_adj_t_in_place_of_edges(self, conv):
        model, data = encoder(conv=conv), Batch.from_data_list(graphs())
        edges = coalesce(data.edge_index)
        adj_t = to_torch_csr_tensor(edges.flip(0), size=(data.num_nodes, data.num_nodes))
        torch.testing.assert_close(model(data.x, adj_t, batch=data.batch), model(data.x, edges, batch=data.batch))

    def test_summary(self):
        assert "ViGBlock" in summary(encoder(), graphs()[0].x, graphs()[0].edge_index)


def test_exports_with_a_batch_vector():
    model, data = encoder(depth=1), Batch.from_data_list(graphs())
    arguments = (data.x, data.edge_index, None, data.batch, 3)
    torch.testing.assert_close(torch.export.export(model, arguments).module()(*arguments), model(*arguments))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")  # in torch's lowering
@pytest.mark.parametrize("given", ["nothing", "edges", "edges and batch"])
def test_compiles_whole(given):
    model, data = encoder(depth=1), Batch.from_data_list(graphs())
    arguments = {
        "nothing": (data.x,),
        "edges": (data.x, data.edge_index),
        "edges and batch": (data.x, data.edge_index, None, data.batch, 3),
    }[given]
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(*arguments), model(*arguments))


def test_is_built_on_the_meta_device() -> None:
    with torch.device("meta"):
        encoder = GraphEncoder(4, 8, 2, depth=3, drop_path_rate=0.1)
    assert all(parameter.is_meta for parameter in encoder.parameters())


def test_edges_of_any_integer_type() -> None:
    encoder, x = GraphEncoder(4, 8, 2, depth=1).eval(), torch.rand(3, 4)
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert torch.equal(encoder(x, edge_index.int()), encoder(x, edge_index))
