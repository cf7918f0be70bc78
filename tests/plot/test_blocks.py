from __future__ import annotations

import pytest
import torch

import pyg_vig
from pyg_vig.plot import plot_blocks
from pyg_vig.plot.blocks import contrasting_points
from pyg_vig.plot.style import WHITE_FRACTION


def test_rows_are_blocks_and_columns_images() -> None:
    model = pyg_vig.create_model("vig_nano", depth=3, in_channels=1).train()
    figure = plot_blocks(model, torch.rand(2, 1, 32, 32), labels=["a", "b"], title="not trained")
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["block 1 of 3", "block 3 of 3"]
    assert figure.get_suptitle() == "not trained"
    assert model.training


def test_blocks_run_across_for_one_image() -> None:
    options = {"channels": (16, 16), "depths": (1, 2), "reductions": (2, 1), "image_size": 64, "k": 3}
    model = pyg_vig.create_model("pvig_ti", **options)
    figure = plot_blocks(model, torch.rand(1, 3, 64, 64), blocks=(0, 1, 2), points=[[(0.5, 0.25)]], across=True)
    assert [ax.get_title() for ax in figure.axes] == ["block 1 of 3", "block 2 of 3", "block 3 of 3"]
    stars = [(float(ax.lines[0].get_xdata()[0]), float(ax.lines[0].get_ydata()[0])) for ax in figure.axes]
    assert stars == [(18, 34), (20, 36), (20, 36)]  # the same position on grids of 16 and 8 patches


def test_pixels_are_shown_as_they_were_before_they_were_normalised() -> None:
    """The hybrids use ImageNet's mean, the others 0.5."""
    model, pixels = pyg_vig.create_model("mobilevig_ti"), torch.rand(3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.config.mean, model.config.std))
    figure = plot_blocks(model, ((pixels - mean) / std)[None], blocks=(0,))
    shown = torch.tensor(figure.axes[0].images[0].get_array())
    torch.testing.assert_close(
        shown, WHITE_FRACTION + (1 - WHITE_FRACTION) * pixels.permute(1, 2, 0), rtol=1e-4, atol=1e-4
    )


def test_long_lines_stay_inside_a_narrow_figure() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2)
    figure = plot_blocks(model, torch.rand(1, 3, 32, 32), title="trained on many photographs of many things, for long")
    figure.canvas.draw()
    for text in figure.texts:
        assert 0 <= text.get_window_extent().x0 < text.get_window_extent().x1 <= figure.bbox.width


def test_blocks_that_do_not_exist() -> None:
    model = pyg_vig.create_model("vig_nano", depth=2)
    with pytest.raises(ValueError, match=r"blocks must be indices from -2 to 1, got \(0, 2\)"):
        plot_blocks(model, torch.rand(1, 3, 32, 32), blocks=(0, 2))


@pytest.mark.parametrize("points", [[[(1.0, 0.5)]], [[(0.5, -0.1)]], [[(0.5, 0.5)]] * 2])
def test_points_that_do_not_fit(points: list[list[tuple[float, float]]]) -> None:
    with pytest.raises(ValueError, match=r"a point must be fractions|each of 1 images, got 2"):
        plot_blocks(pyg_vig.create_model("vig_nano", depth=1), torch.rand(1, 3, 32, 32), points=points)


def test_points_lie_where_it_is_bright_and_dark() -> None:
    image = torch.zeros(1, 16, 16)
    image[:, 4:6, 6:8] = 1
    image[:, 10:12, 2:4] = -1
    image[:, 0, 0] = 5  # border patches are ignored
    assert contrasting_points(image) == [(2.5 / 8, 3.5 / 8), (5.5 / 8, 1.5 / 8)]


def test_panels_have_the_shape_of_the_images() -> None:
    figure = plot_blocks(pyg_vig.create_model("vig_nano", depth=1), torch.rand(2, 3, 16, 64), blocks=(0,), panel=2)
    assert figure.get_size_inches().tolist() == pytest.approx([2 * 2 + 0.3, 0.5 + 0.9])
