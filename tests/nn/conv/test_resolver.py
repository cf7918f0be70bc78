from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, PointNetConv, SAGEConv

from pyg_vig.graph import Adjacency, Layout, NeighborTable, knn_table, neighbor_sum
from pyg_vig.nn import (
    EdgeConv,
    ExternalConv,
    GINConv,
    MaxRelativeConv,
    NeighborConv,
    SAGEConv as MaxSAGEConv,
    conv_resolver,
)

WIDENING = [
    *["GCNConv", "SAGEConv", "GraphConv", "ResGatedGraphConv", "GATConv", "GATv2Conv", "TransformerConv", "TAGConv"],
    *["ARMAConv", "SGConv", "MFConv", "FeaStConv", "HypergraphConv", "LEConv", "ClusterGCNConv", "GENConv", "FiLMConv"],
    *["SuperGATConv", "EGConv", "GeneralConv", "MeshCNNConv"],
]
KEEPING = ["GatedGraphConv", "AGNNConv", "APPNP"]  # output channels equal input channels
BIPARTITE = [
    *["SAGEConv", "GraphConv", "ResGatedGraphConv", "GATConv", "GATv2Conv", "TransformerConv", "MFConv", "LEConv"],
    *["GENConv", "FiLMConv", "GeneralConv"],
]


def table(num_src: int, num_dst: int, k: int = 4) -> NeighborTable:
    return NeighborTable(torch.stack([torch.randperm(num_src)[:k] for _ in range(num_dst)]), num_src)


class TestOurs:
    @pytest.mark.parametrize(
        ("name", "conv"),
        [
            ("max_relative", MaxRelativeConv),
            ("mr", MaxRelativeConv),
            ("edge", EdgeConv),
            ("sage", MaxSAGEConv),
            ("gin", GINConv),
        ],
    )
    @pytest.mark.parametrize("by_name", [True, False])
    def test_names_and_classes_get_all_options(self, name, conv, by_name):
        built = conv_resolver(name if by_name else conv, 8, 16, heads=2, norm="batch", act="relu", bias=False)
        assert type(built) is conv
        update = getattr(built, "nn", None) or built.nn2
        assert update.linear.groups == 2
        assert update.linear.bias is None
        assert isinstance(update.norm, nn.BatchNorm1d)
        assert isinstance(update.act, nn.ReLU)

    def test_factory_builds_as_it_likes(self):
        built = conv_resolver(lambda i, o: MaxRelativeConv(i, o, heads=4), 8, 16, heads=2, norm="batch")
        assert isinstance(built, NeighborConv)
        assert built.nn.linear.groups == 4
        assert isinstance(built.nn.norm, nn.Identity)

    def test_what_a_factory_makes_of_ours_is_tried_too(self):
        with pytest.raises(ValueError, match=r"<lambda> must map \(4, 8\) to \(4, 16\), but returned \(4, 32\)"):
            conv_resolver(lambda i, o: MaxRelativeConv(i, 2 * o), 8, 16)

    def test_derived_class_gets_all_options(self):
        class Mine(MaxRelativeConv):
            pass

        built = conv_resolver(Mine, 8, 16, heads=2, norm="batch")
        assert type(built) is Mine
        assert built.nn.linear.groups == 2


class TotalConv(NeighborConv):
    """A user-defined fused conv, whose constructor takes only the channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.seen: list[type] = []

    def forward(self, x: Tensor | tuple[Tensor, Tensor], edge_index: Adjacency) -> Tensor:
        self.seen.append(type(edge_index))
        return self.linear(self.aggregate_neighbors(edge_index, x if isinstance(x, tuple) else (x, x)))

    def message(self, x_j: Tensor) -> Tensor:
        return x_j

    def message_and_aggregate(self, edge_index: Adjacency, x: tuple[Tensor, Tensor]) -> Tensor:
        return neighbor_sum(x[0], edge_index)


class TestYourNeighborConv:
    @pytest.mark.parametrize("query", [TotalConv, lambda i, o: TotalConv(i, o)], ids=["class", "factory"])
    def test_gets_tables_and_is_followed_by_norm_and_activation(self, query):
        conv, neighbors, x = conv_resolver(query, 8, 16, norm="batch", act="relu"), table(10, 10), torch.randn(10, 8)
        assert isinstance(conv.norm, nn.BatchNorm1d)
        alone = conv.conv(x, neighbors.edge_index.as_tensor())
        torch.testing.assert_close(conv(x, neighbors), torch.relu(conv.norm(alone)))
        assert conv.conv.seen == [Tensor, NeighborTable]

    def test_is_tried(self):
        with pytest.raises(ValueError, match=r"<lambda> must map \(4, 8\) to \(4, 16\)"):
            conv_resolver(lambda i, o: TotalConv(i, o + 1), 8, 16)


class TestTorchGeometric:
    @pytest.mark.parametrize("name", WIDENING)
    def test_conv_by_name(self, name):
        conv = conv_resolver(name, 8, 16, norm="batch", act="relu")
        assert isinstance(conv, ExternalConv)
        out = conv(torch.randn(10, 8), table(10, 10))
        assert out.shape == (10, 16)
        assert bool((out >= 0).all())
        out.sum().backward()

    @pytest.mark.parametrize("name", KEEPING)
    def test_conv_that_keeps_the_width(self, name):
        assert conv_resolver(name, 16, 16)(torch.randn(10, 16), table(10, 10)).shape == (10, 16)
        with pytest.raises(ValueError, match=rf"{name} must map \(4, 8\) to \(4, 16\), but returned \(4, 8\)"):
            conv_resolver(name, 8, 16)

    @pytest.mark.parametrize("name", BIPARTITE)
    def test_bipartite_conv(self, name):
        conv = conv_resolver(name, 8, 16, bipartite=True)
        assert conv((torch.randn(6, 8), torch.randn(10, 8)), table(6, 10)).shape == (10, 16)

    @pytest.mark.parametrize("name", sorted(set(WIDENING) - {*BIPARTITE, "FeaStConv"}))
    def test_conv_for_one_node_set_is_refused_for_two(self, name):
        with pytest.raises(ValueError, match=rf"PyG's {name} cannot be called with a pair \(x_src, x_dst\)"):
            conv_resolver(name, 8, 16, bipartite=True)

    def test_equals_the_conv_alone(self):
        torch.manual_seed(1)
        alone = SAGEConv(8, 16, aggr="max")
        torch.manual_seed(1)
        conv = conv_resolver(SAGEConv, 8, 16, act=None, conv_kwargs={"aggr": "max"})
        x, neighbors = torch.randn(10, 8), table(10, 10)
        assert torch.equal(conv(x, neighbors), alone(x, neighbors.edge_index.as_tensor()))

    def test_no_self_loops_between_two_node_sets(self):
        """GATConv adds a self-loop (i, i), but node i and pooled node i are not the same."""
        assert conv_resolver("GATConv", 8, 16, bipartite=True).conv.add_self_loops is False
        assert conv_resolver("GATConv", 8, 16).conv.add_self_loops is True

    def test_any_module_with_that_call(self):
        class Mean(nn.Module):
            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                source, target = edge_index
                return x.new_zeros(x.size(0), 16).index_add(0, target, x[source].repeat(1, 2))

        assert conv_resolver(lambda i, o: Mean(), 8, 16)(torch.randn(10, 8), table(10, 10)).shape == (10, 16)


class TestErrors:
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("max", "unknown conv 'max': choose one of max_relative, .*gin.* 'GATv2Conv'"),
            ("MessagePassingg", "unknown conv"),
            ("MixHopConv", r"MixHopConv must map \(4, 8\) to \(4, 16\), but returned \(4, 48\)"),
            (lambda i, o: GATConv(i, o, heads=4), r"<lambda> must map .* returned \(4, 64\).*concat=False"),
            (lambda i, o: PointNetConv(), r"<lambda> cannot be called with x and edge_index.*pos"),
            ("EdgeConv_", "unknown conv"),
            ("GINConv", r"PyG's GINConv cannot be called with x and edge_index.*Give a factory"),
            ("NNConv", r"PyG's NNConv cannot be built as conv\(8, 16\).*missing.*Give a factory"),
            (GCNConv(8, 16), "each block builds its own"),
            (lambda i, o: "conv", r"must return a torch\.nn\.Module, got str"),
            (7, "got 7"),
        ],
    )
    def test_an_unsuitable_conv_says_why(self, query, message):
        with pytest.raises(ValueError, match=message):
            conv_resolver(query, 8, 16)

    def test_unknown_argument(self):
        with pytest.raises(ValueError, match="unexpected keyword argument 'hops'"):
            conv_resolver("edge", 8, 16, conv_kwargs={"hops": 2})


class TestTrialRun:
    def test_leaves_the_random_state_alone(self):
        class Noisy(GCNConv):
            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                return super().forward(x + torch.rand_like(x), edge_index)

        torch.manual_seed(3)
        Noisy(8, 16)
        expected = torch.rand(4)
        torch.manual_seed(3)
        conv_resolver(Noisy, 8, 16)
        assert torch.equal(torch.rand(4), expected)

    def test_leaves_batch_norm_and_mode_alone(self):
        class Normalised(nn.Module):
            def __init__(self, i: int, o: int) -> None:
                super().__init__()
                self.conv, self.norm = GCNConv(i, o), nn.BatchNorm1d(o)

            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                return self.norm(self.conv(x, edge_index))

        conv = conv_resolver(Normalised, 8, 16).conv
        assert conv.training
        assert int(conv.norm.num_batches_tracked) == 0
        assert bool((conv.norm.running_mean == 0).all())

    def test_leaves_no_graph_in_a_conv_that_caches_its_first(self):
        conv, alone = conv_resolver("GCNConv", 8, 16, act=None, conv_kwargs={"cached": True}), GCNConv(8, 16)
        alone.load_state_dict(conv.conv.state_dict())
        x, neighbors = torch.randn(10, 8), table(10, 10)
        torch.testing.assert_close(conv(x, neighbors), alone(x, neighbors.edge_index.as_tensor()))

    def test_leaves_the_mode_of_every_part_alone(self):
        class Frozen(GCNConv):
            def __init__(self, i: int, o: int) -> None:
                super().__init__(i, o)
                self.norm = nn.BatchNorm1d(o).eval()

        conv = conv_resolver(Frozen, 8, 16).conv
        assert conv.training
        assert not conv.norm.training

    def test_lazy_conv_learns_its_widths_and_draws_its_parameters_once(self):
        first, second = (conv_resolver(lambda i, o: SAGEConv(-1, o), 8, 16).conv for _ in range(2))
        assert first.lin_l.weight.shape == (16, 8)
        assert not torch.equal(first.lin_l.weight, second.lin_l.weight)
        assert first(torch.randn(10, 8), table(10, 10).edge_index.as_tensor()).shape == (10, 16)

    def test_leaves_no_gradient(self):
        assert all(parameter.grad is None for parameter in conv_resolver("GCNConv", 8, 16).parameters())


@pytest.mark.parametrize("name", ["GCNConv", "GATv2Conv", "SAGEConv"])
def test_knn_graph_feeds_it(name):
    layout = Layout.from_equal(2, 8)
    x = torch.randn(16, 8)
    assert conv_resolver(name, 8, 16)(x, knn_table(x, 3, layout)).shape == (16, 16)


def test_no_loops_among_pooled_neighbours_by_factory_either():
    conv = conv_resolver(lambda i, o: GATConv(i, o, heads=2, concat=False), 8, 16, bipartite=True).conv
    assert not conv.add_self_loops
    assert conv_resolver("GATConv", 8, 16).conv.add_self_loops


@pytest.mark.parametrize("name", ["EdgeConv", "DNAConv"])
def test_classes_that_want_other_arguments_are_told_of(name):
    with pytest.raises(ValueError, match=f"PyG's {name} cann.t be .*: .+Give a factory"):
        conv_resolver(name, 8, 16)
