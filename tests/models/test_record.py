from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

import pyg_vig
from pyg_vig.graph import GridGraph


def test_records_the_graph_of_every_block_without_changing_the_output():
    torch.manual_seed(0)
    model = pyg_vig.create_model("pvig_ti", depths=(1, 1, 2, 1)).eval()
    images = torch.rand(2, 3, 128, 128)
    expected = model(images)
    with pyg_vig.record_graphs(model) as graphs:
        actual = model(images)
    assert torch.equal(actual, expected)
    assert graphs.names == [f"stages.{s}.blocks.{b}.grapher" for s, b in [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0)]]
    assert [layout.grid for layout in graphs.layouts] == [(32, 32), (16, 16), (8, 8), (8, 8), (4, 4)]
    assert [layout.grid for layout in graphs.source_layouts] == [(8, 8)] * 4 + [(4, 4)]
    for edge_index, source, destination in zip(graphs, graphs.source_layouts, graphs.layouts, strict=True):
        edge_index.validate()
        assert edge_index.sparse_size() == (source.num_nodes, destination.num_nodes)
        assert edge_index.size(1) == 9 * destination.num_nodes
    model(images)  # outside the context nothing is recorded
    assert len(graphs) == 5
    graphs.clear()
    assert not graphs and not graphs.layouts


def test_a_builder_shared_by_all_blocks_is_recorded_once_a_block():
    model = pyg_vig.create_model("vig_nano", depth=3, graph=GridGraph(4)).eval()
    with pyg_vig.record_graphs(model) as graphs:
        model(torch.rand(1, 3, 32, 32))
    assert len(graphs) == 3
    assert len(set(graphs.names)) == 3


def test_recording_ends_with_the_context_also_after_an_error():
    model = pyg_vig.create_model("vig_nano", depth=2).eval()
    with pytest.raises(ValueError, match="expected images"), pyg_vig.record_graphs(model):
        model(torch.rand(1, 1, 32, 32))
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_a_model_without_graphs():
    with pytest.raises(ValueError, match="no Grapher"), pyg_vig.record_graphs(nn.Linear(1, 1)):
        pass


def test_the_graph_of_a_block_as_networkx():
    pytest.importorskip("networkx")
    model = pyg_vig.create_model("vig_nano", depth=2).eval()
    with pyg_vig.record_graphs(model) as graphs:
        model(torch.rand(1, 3, 32, 32))
    graph = to_networkx(Data(edge_index=graphs[1].as_tensor(), num_nodes=64))
    assert sorted(graph.edges) == sorted(map(tuple, graphs[1].t().tolist()))
    assert all(degree == graphs[1].size(1) / 64 for _, degree in graph.in_degree())


def test_a_compiled_network_is_recorded_too():
    model = pyg_vig.create_model("vig_nano").eval()
    compiled, images = torch.compile(model, backend="eager"), torch.rand(1, 3, 32, 32)
    compiled(images)
    with pyg_vig.record_graphs(model) as graphs:
        compiled(images)
    assert len(graphs) == 6
