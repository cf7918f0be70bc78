from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from pyg_vig.graph import Layout
from pyg_vig.plot import plot_degrees, plot_hubs


def test_counts_lie_over_the_image_and_the_star_on_the_largest() -> None:
    layout = Layout.from_grid(2, 2, 2)
    edges = torch.tensor([[0, 7, 7, 6], [1, 5, 6, 6]])
    _, ax = plt.subplots()
    assert plot_hubs(torch.rand(3, 20, 40), edges, layout, graph=1, ax=ax) is ax
    np.testing.assert_array_equal(ax.images[1].get_array(), [[0, 0], [0, 2]])
    assert ax.images[0].get_extent() == ax.images[1].get_extent() == [0, 40, 20, 0]
    (star,) = ax.lines
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (30, 15)


def test_pooled_patches_have_no_loops() -> None:
    layout, pooled = Layout.from_grid(1, 2, 2), Layout.from_grid(1, 1, 1)
    ax = plot_hubs(torch.rand(3, 20, 20), torch.tensor([[0, 0], [0, 1]]), layout, source_layout=pooled)
    assert ax.images[1].get_array().tolist() == [[2]]


def test_nodes_on_no_grid() -> None:
    with pytest.raises(ValueError, match="do not form a grid"):
        plot_hubs(torch.rand(3, 20, 20), torch.tensor([[0], [1]]), Layout.from_equal(1, 4))


def test_degrees_fall_from_all_to_none() -> None:
    ax = plot_degrees({"a": torch.tensor([3, 0, 1, 0])})
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [0, 0, 1, 3]
    assert line.get_ydata().tolist() == [1, 0.75, 0.5, 0.25]
