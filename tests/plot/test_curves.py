from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import pyg_vig
from pyg_vig.analysis import diversity_by_block, edge_length_by_block, purity_by_block
from pyg_vig.models.record import RecordedGraphs
from pyg_vig.plot import plot_by_block, plot_diversity, plot_edge_length, plot_purity

IMAGES = torch.rand(2, 3, 32, 32)


def record(**options) -> RecordedGraphs:
    model = pyg_vig.create_model("vig_nano", depth=3, **options).eval()
    with pyg_vig.record_graphs(model) as graphs, torch.no_grad():
        model(IMAGES)
    return graphs


def curve_values(ax: Axes, name: str) -> np.ndarray:
    (line,) = (line for line in ax.lines if line.get_label() == name)
    return np.asarray(line.get_ydata(), dtype=float)


def test_curves_are_means_and_bands_quartiles() -> None:
    values = torch.tensor([[0.0, 1, 2, 3, 4], [2, 2, 2, 2, torch.nan]])
    _, ax = plt.subplots()
    assert plot_by_block({"a": values, "b": torch.ones(2)}, "a number", ax=ax) is ax
    assert curve_values(ax, "a").tolist() == [2, 2]
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
    (band,) = ax.collections  # none for curves with one value per block
    height = band.get_paths()[0].vertices
    assert {tuple(point) for point in height.tolist()} >= {(1, 1), (1, 3), (2, 2)}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_seven_curves_can_be_told_apart() -> None:
    ax = plot_by_block({str(turn): torch.rand(3) for turn in range(7)}, "a number")
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 7


def test_lengths_by_block() -> None:
    graphs = {"knn": record(), "grid": record(graph="grid", graph_kwargs={"neighbors": 4})}
    ax = plot_edge_length(graphs, (32, 32))
    np.testing.assert_allclose(curve_values(ax, "grid"), 4)
    np.testing.assert_allclose(curve_values(ax, "knn"), edge_length_by_block(graphs["knn"], (32, 32)).mean(1))


def test_purity_has_yardsticks() -> None:
    graphs, halves = record(), (torch.arange(32) >= 16).long().expand(2, 32, 32)
    ax = plot_purity({"a network": graphs}, halves)
    np.testing.assert_allclose(curve_values(ax, "a network"), purity_by_block(graphs, halves).mean(1))
    np.testing.assert_allclose(curve_values(ax, "random patches"), 31 / 63)
    assert 0.8 < curve_values(ax, "the 8 adjacent patches")[0] < 1
    assert len(ax.get_legend().get_texts()) == 3


def test_diversity_begins_before_the_first_block() -> None:
    model = pyg_vig.create_model("vig_nano", depth=3)
    ax = plot_diversity({"a network": model.train()}, IMAGES)
    np.testing.assert_allclose(curve_values(ax, "a network"), diversity_by_block(model, IMAGES, relative=True).mean(1))
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2, 3]


def test_no_curve_is_told() -> None:
    with pytest.raises(ValueError, match="curves is empty"):
        plot_purity({}, torch.zeros(1, 8, 8))
