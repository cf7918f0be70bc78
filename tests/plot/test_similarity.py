from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

import pyg_vig
from pyg_vig.models import similarity_maps
from pyg_vig.plot import plot_similarities, plot_similarity


def test_the_map_lies_over_the_image_and_the_star_on_its_patch() -> None:
    weights, (_, ax) = torch.rand(4, 6), plt.subplots()
    assert plot_similarity(torch.rand(3, 32, 48), weights, (0.5, 0.9), ax=ax) is ax
    picture, overlay = ax.images
    assert picture.get_extent() == overlay.get_extent() == [0, 48, 32, 0]
    np.testing.assert_allclose(overlay.get_array(), weights)
    (star,) = ax.lines
    assert (star.get_ydata()[0], star.get_xdata()[0]) == (2.5 / 4 * 32, 5.5 / 6 * 48)
    assert ax.get_xlabel() == f"{weights.min():#.2g} to {weights.max():#.2g}"


def test_rows_are_patches_and_columns_blocks() -> None:
    model, image = pyg_vig.create_model("vig_nano", depth=3, conv="cross_attention"), torch.rand(3, 32, 32)
    points = [(0.1, 0.2), (0.7, 0.7)]
    figure = plot_similarities(model, image, points=points, blocks=(0, -1), title="not trained")
    assert figure.get_suptitle() == "not trained"
    titles = [ax.get_title().split("\n")[0] for ax in figure.axes]
    assert titles == ["block 1 of 3", "block 3 of 3", "", ""]
    maps = similarity_maps(model, image, points)
    for ax, (turn, block) in zip(figure.axes, [(0, 0), (0, 2), (1, 0), (1, 2)], strict=True):
        np.testing.assert_allclose(ax.images[1].get_array(), maps[block][turn])


def test_default_is_two_patches_in_all_blocks() -> None:
    model = pyg_vig.create_model("vig_nano", depth=3, conv="cross_attention")
    assert len(plot_similarities(model, torch.rand(3, 32, 32)).axes) == 2 * 3


def test_blocks_that_do_not_exist() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2, conv="cross_attention")
    with pytest.raises(ValueError, match=r"blocks must be indices from -2 to 1, got \(2,\)"):
        plot_similarities(model, torch.rand(3, 32, 32), blocks=(2,))


def test_places_outside_the_image() -> None:
    with pytest.raises(
        ValueError, match=r"a point must be fractions of height and width in \[0, 1\), got \(1.0, 0.5\)"
    ):
        plot_similarity(torch.rand(3, 32, 32), torch.rand(4, 4), (1.0, 0.5))


def test_weights_in_bfloat16() -> None:
    ax = plot_similarity(torch.rand(3, 32, 32), torch.full((4, 4), 0.5, dtype=torch.bfloat16), (0.5, 0.5))
    assert ax.images[1].get_array().max() == 0.5
