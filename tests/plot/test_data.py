from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from mpl_toolkits.mplot3d import proj3d
from mpl_toolkits.mplot3d.art3d import Path3DCollection
from torch_geometric.data import Data

from pyg_vig.plot import neighbors_of, plot_points, plot_superpixels
from pyg_vig.transforms import PointsToGraph, ToSuperpixels


def quartered_image() -> torch.Tensor:
    image = torch.zeros(3, 16, 16)
    image[0, :, 8:], image[1, 8:] = 1, 1
    return image


def test_superpixels_are_dots_in_their_colour_and_lines_where_they_touch() -> None:
    pytest.importorskip("skimage")
    data = ToSuperpixels(n_segments=4, keep_segmentation=True)(quartered_image())
    ax = plot_superpixels(quartered_image(), data)
    borders, lines, dots = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), data.pos)
    np.testing.assert_allclose(dots.get_facecolors()[:, :3], data.x[:, :3])
    assert len(lines.get_segments()) == data.edge_index.size(1) // 2
    assert len(borders.get_segments()) == 32  # a cross of two lines of 16 pixels
    assert {tuple(segment.mean(0)) for segment in borders.get_segments()} >= {(8, 0.5), (0.5, 8)}


def test_superpixels_coloured_by_values_into_given_axes() -> None:
    data = Data(x=torch.rand(2, 6), pos=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), edge_index=torch.tensor([[0], [1]]))
    _, ax = plt.subplots()
    assert plot_superpixels(quartered_image(), data, values=torch.tensor([0.5, 2.0]), ax=ax) is ax
    np.testing.assert_allclose(ax.collections[-1].get_array(), [0.5, 2])


def test_superpixels_need_places() -> None:
    with pytest.raises(ValueError, match="expected a graph made by ToSuperpixels"):
        plot_superpixels(quartered_image(), Data(x=torch.rand(4, 6)))


def test_neighbours_of_chosen_points_are_linked() -> None:
    cloud = PointsToGraph(k=5)(torch.rand(40, 3))
    ax = plot_points(cloud, centers=[3, 7])
    everyone, *chosen = (dots for dots in ax.collections if isinstance(dots, Path3DCollection))
    assert len(everyone.get_offsets()) == 40
    for dots, center in zip(chosen, [3, 7], strict=True):
        nodes = neighbors_of(cloud.edge_index, center)
        assert len(nodes) == 5
        np.testing.assert_allclose(np.sort(np.stack(dots._offsets3d)), np.sort(cloud.pos[nodes].T.numpy()))
    assert sum(len(line.get_data_3d()[0]) == 2 for line in ax.lines) == 10
    assert sum(line.get_marker() == "*" for line in ax.lines) == 2


def test_points_alone() -> None:
    axes = plt.figure().add_subplot(projection="3d")
    assert plot_points(np.random.default_rng(0).random((9, 3)), ax=axes) is axes


def test_long_clouds_stay_inside_the_figure() -> None:
    points = torch.linspace(0, 1, 50)[:, None] * torch.tensor([1.0, 0, 0])
    ax = plot_points(points)
    ax.figure.canvas.draw()
    x, y, _ = proj3d.proj_transform(*points.T.numpy(), ax.get_proj())
    places = ax.transData.transform(np.stack([x, y], axis=1))
    assert all(ax.figure.bbox.contains(*place) for place in places)


def test_errors_of_points() -> None:
    with pytest.raises(ValueError, match=r"expected points \(N, 3\), got shape \(5, 2\)"):
        plot_points(torch.rand(5, 2))
    with pytest.raises(ValueError, match="centers need an edge_index"):
        plot_points(torch.rand(5, 3), centers=[0])
    with pytest.raises(ValueError, match="expected 3D axes, got rectilinear"):
        plot_points(torch.rand(5, 3), ax=plt.subplots()[1])
