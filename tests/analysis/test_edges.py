from __future__ import annotations

import pytest
import torch

import pyg_vig
from pyg_vig.analysis import (
    chance_purity,
    edge_length_by_block,
    edge_lengths,
    neighbor_purity,
    patch_centers,
    purity_by_block,
)
from pyg_vig.graph import Layout, grid_graph


def record(name: str, images: torch.Tensor, **options):
    model = pyg_vig.create_model(name, **options).eval()
    with pyg_vig.record_graphs(model) as graphs, torch.no_grad():
        model(images)
    return graphs


def record_pyramid(images: torch.Tensor):
    options = {"channels": (16, 16), "depths": (1, 1), "reductions": (2, 1), "image_size": 64, "k": 3}
    return record("pvig_ti", images, **options)


def test_centres_are_in_row_major_order_for_every_image() -> None:
    centres = patch_centers(Layout.from_grid(2, 2, 3), size=(20, 30))
    assert centres.tolist() == 2 * [[5, 5], [15, 5], [25, 5], [5, 15], [15, 15], [25, 15]]


def test_nodes_without_a_grid_have_no_centres() -> None:
    with pytest.raises(ValueError, match="use the pos of their data"):
        patch_centers(Layout.from_equal(1, 4))


def test_lengths_are_euclidean() -> None:
    edges, layout = torch.tensor([[0, 5, 3], [5, 0, 3]]), Layout.from_grid(1, 2, 3)
    assert edge_lengths(edges, patch_centers(layout, (20, 30))).tolist() == pytest.approx([500**0.5, 500**0.5, 0])


def test_lengths_from_pooled_nodes_go_to_their_centres() -> None:
    layout, pooled = Layout.from_grid(1, 2, 2), Layout.from_grid(1, 1, 1)
    places = patch_centers(layout, (4, 4)), patch_centers(pooled, (4, 4))
    assert edge_lengths(torch.zeros(2, 1, dtype=torch.int64), *places).tolist() == pytest.approx([2**0.5])


def test_mean_length_of_a_known_graph() -> None:
    """On a grid, the four neighbours of a patch are one patch size away."""
    graphs = record("vig_nano", torch.rand(2, 3, 32, 32), graph="grid", graph_kwargs={"neighbors": 4})
    torch.testing.assert_close(edge_length_by_block(graphs, size=(32, 32)), torch.full((6, 2), 4.0))


def test_loops_are_left_out_and_images_kept_apart() -> None:
    graphs = record("vig_nano", torch.rand(2, 3, 32, 32), depth=2)
    lengths = edge_length_by_block(graphs)
    assert lengths.shape == (2, 2)
    for block, (edges, layout) in enumerate(zip(graphs, graphs.layouts, strict=True)):
        source, destination = edges.as_tensor()
        places = patch_centers(layout)
        for image in range(2):
            mine = (destination // 64 == image) & (source != destination)
            expected = (places[source[mine]] - places[destination[mine]]).norm(dim=1).mean()
            torch.testing.assert_close(lengths[block, image], expected)


def test_pooled_neighbours_have_lengths_and_labels() -> None:
    graphs = record_pyramid(torch.rand(2, 3, 64, 64))
    assert edge_length_by_block(graphs).isfinite().all()
    masks = torch.zeros(2, 64, 64, dtype=torch.int64)
    masks[1, :, :] = torch.arange(64) % 2  # patches of 4 x 4 pixels tie, and take the smallest label
    torch.testing.assert_close(purity_by_block(graphs, masks), torch.ones(2, 2, dtype=torch.float64))


def test_purity_is_the_share_of_equal_labels() -> None:
    labels = torch.tensor([1, 1, 2, -1])
    edges = torch.tensor([[0, 1, 2, 3, 0, 1, 0, 3], [0, 0, 0, 0, 1, 2, 3, 2]])
    purity = neighbor_purity(edges, labels)
    torch.testing.assert_close(purity, torch.tensor([0.5, 1, 0, torch.nan]).double(), equal_nan=True)


def test_purity_of_pooled_neighbours_has_no_loops() -> None:
    edges = torch.tensor([[0, 1], [0, 0]])
    assert neighbor_purity(edges, torch.tensor([5]), torch.tensor([5, 3])).tolist() == [0.5]


def test_chance_is_what_random_neighbours_give() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [-1] * 2)
    everyone = torch.cartesian_prod(torch.arange(11), torch.arange(11)).T
    assert chance_purity(labels) == pytest.approx(float(neighbor_purity(everyone, labels).nanmean()))


def test_purity_by_block_of_halves() -> None:
    """With different labels left and right, only patches next to the border have neighbours of the other label."""
    graphs = record("vig_nano", torch.rand(2, 3, 32, 32), graph="grid", depth=1)
    masks = (torch.arange(32) >= 16).long().expand(2, 32, 32)
    labels = (torch.arange(8) >= 4).long().repeat(8)
    expected = neighbor_purity(grid_graph(8, 8), labels).mean()
    torch.testing.assert_close(purity_by_block(graphs, masks), expected.expand(1, 2))
    assert 0.8 < expected < 1


def test_masks_must_fit_the_images() -> None:
    graphs = record("vig_nano", torch.rand(2, 3, 32, 32), depth=1)
    with pytest.raises(ValueError, match="one mask per image, got 1 masks for 2 images"):
        purity_by_block(graphs, torch.zeros(1, 32, 32, dtype=torch.int64))
