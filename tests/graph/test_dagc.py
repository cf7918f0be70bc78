from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyg_vig.graph import DAGCGraph, Layout, SVGAGraph, neighbor_max

# height, width, step: cliques in both axes, in one axis only, in none; odd sizes; links along one axis; no links
SIZES = [(8, 8, 2), (4, 6, 1), (6, 9, 3), (8, 6, 4), (7, 7, 2), (5, 8, 3), (9, 5, 4), (3, 8, 4), (2, 3, 4), (1, 6, 2)]


def threshold(image: Tensor) -> Tensor:
    """Mean minus standard deviation of the L1 distance to the patch half an image away; image ``(C, H, W)``."""
    _, height, width = image.shape
    distance = (image - image.roll((-height // 2, -width // 2), (1, 2))).abs().sum(0)
    return distance.mean() - distance.std()


def shifts(height: int, width: int, step: int) -> list[tuple[int, int]]:
    """Distance and axis of every roll in the published loops, except rolls by zero."""
    return [(i, 1) for i in range(step, height, step)] + [(i, 2) for i in range(step, width, step)]


def rolled_max_relative(image: Tensor, step: int) -> Tensor:
    """Published aggregation of one image: maximum of zero and the masked differences to rolled maps."""
    limit, largest = threshold(image), torch.zeros_like(image)
    for shift, axis in shifts(*image.shape[1:], step):
        difference = image.roll(shift, axis) - image
        largest = torch.maximum(largest, difference * (difference.abs().sum(0) < limit))
    return largest


def maps(count: int, channels: int, height: int, width: int) -> Tensor:
    """Generate noise scaled per patch, so that some patches are similar: some edges are kept, some are cut."""
    x = torch.randn(count, channels, height, width, dtype=torch.float64)
    return x * torch.rand(count, 1, height, width, dtype=torch.float64)


def rows_of(images: Tensor) -> tuple[Tensor, Layout]:
    count, channels, height, width = images.shape
    return images.permute(0, 2, 3, 1).reshape(-1, channels), Layout.from_grid(count, height, width)


@pytest.mark.parametrize(("height", "width", "step"), SIZES)
class TestAgainstRolling:
    def test_aggregation(self, height, width, step):
        images = maps(3, 5, height, width)
        x, layout = rows_of(images)
        found = neighbor_max(x, DAGCGraph(step)(x, layout)) - x
        expected, _ = rows_of(torch.stack([rolled_max_relative(image, step) for image in images]))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    def test_table(self, height, width, step):
        """Each row holds the patch itself and, for every roll, the rolled patch, or itself again if dissimilar."""
        images = maps(2, 3, height, width)
        x, layout = rows_of(images)
        number = torch.arange(height * width).view(1, height, width)
        for i, image in enumerate(images):
            columns = [number]
            for shift, axis in shifts(height, width, step):
                near = (image - image.roll(shift, axis)).abs().sum(0) < threshold(image)
                columns.append(torch.where(near, number.roll(shift, axis), number))
            expected = torch.stack(columns, -1).flatten(0, 2) + i * height * width
            found = DAGCGraph(step)(x, layout).index.view(2, height * width, -1)[i]
            assert torch.equal(found, expected)


def test_the_comparison_keeps_some_links_and_cuts_others():
    x, layout = rows_of(maps(2, 5, 8, 8))
    table = DAGCGraph(2)(x, layout)
    cut = (table.index[:, 1:] == table.index[:, :1]).double().mean()
    assert 0.1 < cut < 0.9


def test_candidates_are_those_of_svga():
    x, layout = rows_of(maps(2, 5, 6, 9))
    table, candidates = DAGCGraph(3)(x, layout), SVGAGraph(3, loop=True)(x, layout)
    kept = table.index != table.index[:, :1]
    assert torch.equal(table.index[kept], candidates.index[kept])
    assert table.k == candidates.k


def test_images_do_not_see_each_other():
    images = maps(3, 5, 7, 8)
    images[1] *= 10
    together = DAGCGraph(2)(*rows_of(images)).index.view(3, 56, -1)
    for i, image in enumerate(images):
        assert torch.equal(together[i] - 56 * i, DAGCGraph(2)(*rows_of(image.unsqueeze(0))).index)


def test_a_single_patch_is_its_own_neighbour():
    assert DAGCGraph(1)(torch.rand(2, 3), Layout.from_grid(2, 1, 1)).index.tolist() == [[0], [1]]


def test_no_gradient_flows_through_the_choice():
    x, layout = rows_of(maps(1, 3, 4, 4))
    assert not DAGCGraph(2)(x.requires_grad_(), layout).index.requires_grad


def test_bad_input_says_what_is_wrong():
    with pytest.raises(ValueError, match="step must be at least 1, got 0"):
        DAGCGraph(0)
    x = torch.rand(6, 3)
    with pytest.raises(ValueError, match="nodes of one grid"):
        DAGCGraph(2)(x, Layout.from_equal(1, 6))
    layout = Layout.from_grid(1, 2, 3)
    with pytest.raises(ValueError, match="reduction=1"):
        DAGCGraph(2)((x, x), (layout, layout))
    assert repr(DAGCGraph(4)) == "DAGCGraph(step=4)"
