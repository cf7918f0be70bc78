"""Image networks on PyG batches of patches: every conv, and invalid input."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Distance

import pyg_vig
from pyg_vig.nn.conv.resolver import CONVS
from pyg_vig.transforms import ImageToGraph

ALL_CONVS = [*CONVS, "GCNConv", "SAGEConv", "GATv2Conv", "TransformerConv", "GENConv", "ResGatedGraphConv"]


def network(**options) -> nn.Module:
    options = {"conv": "max_relative", "graph": "given"} | options
    model = pyg_vig.create_model("vig_nano", depth=2, stem="patch", in_channels=1, position=False, **options)
    return model.double().eval()


def photos() -> list[Data]:
    """Create graphs of images of three sizes."""
    to_graph = ImageToGraph(4, graph="grid")
    return [to_graph(torch.rand(1, *size, dtype=torch.float64)) for size in ((16, 16), (24, 16), (20, 28))]


@pytest.mark.parametrize("conv", ALL_CONVS)
@pytest.mark.parametrize("graph", ["knn", "given"])
def test_a_batch_gives_what_its_members_give_one_by_one(conv, graph):
    model, members = network(conv=conv, graph=graph), photos()
    single = torch.cat([model(data) for data in members])
    torch.testing.assert_close(model(Batch.from_data_list(members)), single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge_index": torch.tensor([[0, 16], [1, 2]])}, "refers to nodes 0 to 16, but there are only nodes 0 to 15"),
        ({"edge_index": torch.tensor([[0.0], [1.0]])}, "must be int64 of shape"),
        ({"edge_index": torch.zeros(3, 4, dtype=torch.int64)}, r"of shape \(3, 4\)"),
        ({"edge_index": None}, "needs an edge_index"),
        ({"x": torch.rand(16, 15)}, r"needs x of shape \(N, 1 \* 4\^2 = 16\), got \(16, 15\)"),
        ({"x": None}, "got None"),
        ({"edge_index": torch.zeros(2, 3, dtype=torch.int64, device="meta")}, "x is on cpu but edge_index on meta"),
        ({"batch": torch.zeros(16, dtype=torch.int64, device="meta")}, "x is on cpu but batch on meta"),
    ],
)
def test_bad_input(change, message):
    data = photos()[0]
    for name, value in change.items():
        data[name] = value
    with pytest.raises(ValueError, match=message):
        network()(data)


def test_more_neighbours_than_patches():
    with pytest.raises(ValueError, match="k=17 neighbours requested from a graph with 16 nodes"):
        network(graph="knn", k=17)(photos()[0])


@pytest.mark.parametrize("graph", ["knn", "given"])
def test_nan_stays_in_its_image(graph):
    model, members = network(graph=graph), photos()
    clean = model(Batch.from_data_list(members))
    members[1].x[3, 5] = torch.nan
    out = model(Batch.from_data_list(members))
    assert out[1].isnan().all()
    torch.testing.assert_close(out[[0, 2]], clean[[0, 2]])


class TestEdgeFeatures:
    @staticmethod
    def network(**options):
        options = {"conv": "GATv2Conv", "graph": "given", "edge_dim": 1} | options
        return pyg_vig.create_model("vig_nano", stem="patch", depth=2, **options).eval()

    @staticmethod
    def photo():
        graph = ImageToGraph(4, graph="grid")(torch.rand(3, 32, 32))
        return Distance(norm=False)(graph)

    def test_reach_the_conv_in_any_order_of_edges(self):
        model, graph = self.network(), self.photo()
        expected = model(graph)
        order = torch.randperm(graph.num_edges)
        shuffled = graph.clone()
        shuffled.edge_index, shuffled.edge_attr = graph.edge_index[:, order], graph.edge_attr[order].flatten()
        torch.testing.assert_close(model(shuffled), expected, rtol=1e-4, atol=1e-5)
        graph.edge_attr = 9 * graph.edge_attr
        assert not torch.allclose(model(graph), expected)

    def test_are_ignored_unless_asked_for(self):
        model, graph = self.network(edge_dim=None), self.photo()
        expected = model(graph)
        del graph.edge_attr
        torch.testing.assert_close(model(graph), expected)

    def test_missing_or_of_another_width(self):
        model, graph = self.network(edge_dim=2), self.photo()
        with pytest.raises(ValueError, match=r"\(E, edge_dim\) = \(420, 2\), got \(420, 1\)"):
            model(graph)
        del graph.edge_attr
        with pytest.raises(ValueError, match="edge_dim=2, but got none as edge_attr"):
            model(graph)

    def test_options_that_make_no_sense(self):
        with pytest.raises(ValueError, match="edge_dim must be None, unless stem='patch' and graph='given'"):
            self.network(graph="knn")
        with pytest.raises(ValueError, match="takes no edge features"):
            self.network(conv="max_relative")
