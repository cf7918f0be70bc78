from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data

from pyg_vig.graph import knn_graph
from pyg_vig.transforms import PointsToGraph


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(40, 3)


def edges_of(data: Data) -> set[tuple[int, int]]:
    return set(zip(*data.edge_index.tolist(), strict=True))


@pytest.mark.parametrize("loop", [True, False])
def test_nearest_neighbours(points, loop):
    data = PointsToGraph(k=5, loop=loop)(points)
    assert torch.equal(data.edge_index, knn_graph(points, 5, loop=loop).as_tensor())
    assert type(data.edge_index) is torch.Tensor
    assert torch.equal(data.x, points)


@pytest.mark.parametrize("loop", [True, False])
def test_radius(points, loop):
    data = PointsToGraph(k=40, radius=0.3, loop=loop)(points)
    near = torch.cdist(points, points) <= 0.3
    expected = {(j, i) for i, j in near.nonzero().tolist() if loop or i != j}
    assert edges_of(data) == expected
    assert (data.edge_index[1].diff() >= 0).all()


def test_radius_keeps_the_nearest_k(points):
    few, all_near = PointsToGraph(k=3, radius=0.5)(points), PointsToGraph(k=40, radius=0.5)(points)
    assert edges_of(few) <= edges_of(all_near)
    degree = few.edge_index[1].bincount(minlength=40)
    assert torch.equal(degree, all_near.edge_index[1].bincount(minlength=40).clamp(max=3))
    assert edges_of(few) <= edges_of(PointsToGraph(k=3)(points))


def test_radius_of_few_points():
    assert PointsToGraph(radius=1.0)(torch.rand(1, 3)).edge_index.shape == (2, 0)
    assert PointsToGraph(radius=9.0)(torch.rand(3, 3)).num_edges == 6
    assert PointsToGraph(radius=1.0)(torch.rand(0, 3)).edge_index.shape == (2, 0)


@pytest.mark.parametrize("name", ["normal", "norm"])
def test_normals_stand_beside_the_points(points, name):
    normal = torch.nn.functional.normalize(torch.randn(40, 3), dim=1)
    data = PointsToGraph(k=4)(Data(pos=points, y=torch.tensor([2]), **{name: normal}))
    assert torch.equal(data.x, torch.cat([points, normal], 1))
    assert data.y.tolist() == [2]


def test_features_of_the_data_stay(points):
    colour = torch.rand(40, 3)
    assert torch.equal(PointsToGraph(k=4)(Data(pos=points, x=colour)).x, torch.cat([points, colour], 1))


def test_edge_features(points):
    data = PointsToGraph(k=4, edge_attr=True)(points)
    for (source, target), edge in zip(data.edge_index.T.tolist(), data.edge_attr, strict=True):
        way = points[source] - points[target]
        torch.testing.assert_close(edge, torch.cat([way, way.norm().view(1)]))


def test_arrays_and_labels(points):
    data = PointsToGraph(k=4)((points.numpy(), np.int64(3)))
    assert torch.equal(data.pos, points)
    assert data.y.tolist() == [3]


@pytest.mark.parametrize("options", [{"k": 4}, {"k": 9, "radius": 0.4}, {"k": 4, "edge_attr": True}])
def test_a_batch_gets_what_its_clouds_get(points, options):
    clouds = [Data(pos=points[:12]), Data(pos=points[12:17]), Data(pos=points[17:])]
    transform = PointsToGraph(**options)
    together = transform(Batch.from_data_list(clouds))
    assert edges_of(together) == edges_of(Batch.from_data_list([transform(cloud) for cloud in clouds]))


def test_composes_and_leaves_its_input_as_it_was(points):
    source = Data(pos=points.clone())
    data = T.Compose([T.Center(), PointsToGraph(k=4), T.Cartesian()])(source)
    assert data.edge_attr.shape == (160, 3)
    assert source.keys() == ["pos"]
    assert torch.equal(source.pos, points)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.rand(4), r"got torch.float32 of shape \(4,\)"),
        (torch.ones(4, 3, dtype=torch.int64), r"floating point, .* got torch.int64 of shape \(4, 3\)"),
        (Data(x=torch.rand(4, 3)), "got NoneType"),
        ("cloud", "got str"),
        (torch.rand(4, 3), "k=16 neighbours requested from a graph with 3 other nodes"),
    ],
)
def test_bad_input(source, message):
    with pytest.raises(ValueError, match=message):
        PointsToGraph()(source)


@pytest.mark.parametrize("options", [{"k": 0}, {"radius": 0.0}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="must be positive"):
        PointsToGraph(**options)


def test_representation():
    assert repr(PointsToGraph(8, radius=0.2)) == "PointsToGraph(k=8, radius=0.2, loop=False, edge_attr=False)"


def test_clouds_in_disorder_are_refused():
    with pytest.raises(ValueError, match="batch must be sorted"):
        PointsToGraph(k=1)(Data(pos=torch.rand(4, 3), batch=torch.tensor([0, 1, 0, 1])))


def test_features_of_other_edges_do_not_stay():
    cloud = Data(pos=torch.rand(9, 3), x=torch.rand(9), edge_index=torch.tensor([[0], [1]]), edge_attr=torch.rand(1, 2))
    graph = PointsToGraph(k=3)(cloud)
    assert graph.edge_attr is None
    assert graph.x.shape == (9, 4)


def test_a_batch_comes_apart_again():
    clouds = [Data(pos=torch.rand(n, 3), y=torch.tensor([n])) for n in (20, 30)]
    parts = PointsToGraph(k=4, edge_attr=True)(Batch.from_data_list(clouds)).to_data_list()
    for part, cloud in zip(parts, clouds, strict=True):
        alone = PointsToGraph(k=4, edge_attr=True)(cloud)
        assert part.keys() == alone.keys()
        assert all(torch.equal(part[name], alone[name]) for name in alone.keys())  # noqa: SIM118 - Data is not a dict


def test_one_number_for_every_point_is_a_column():
    graph = PointsToGraph(k=2)(Data(pos=torch.rand(9, 3), norm=torch.arange(9.0), x=torch.ones(9)))
    assert graph.x.shape == (9, 5)
    with pytest.raises(ValueError, match="norm must have one row for each of the 9 points, got 18"):
        PointsToGraph(k=2)(Data(pos=torch.rand(9, 3), norm=torch.ones(18)))
