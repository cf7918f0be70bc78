"""The examples run on what packages bundle, briefly, and print what they promise."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


def printed(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    importlib.import_module(name).main(list(arguments))
    return capsys.readouterr().out


def test_custom_conv(capsys):
    pytest.importorskip("sklearn")
    out = printed(capsys, "custom_conv", "--epochs", "1", "--images", "80")
    assert "GatedConv: " in out
    assert "ViG's max-relative conv: " in out


def test_node_classification(capsys):
    out = printed(capsys, "node_classification", "--epochs", "20", "--seeds", "2")
    assert "KarateClub" in out
    assert "over 2 seeds" in out


def test_graph_classification(capsys):
    out = printed(capsys, "graph_classification", "--epochs", "3", "--hidden", "16", "--depth", "2")
    assert "generated graphs, gin: test accuracy " in out


@pytest.mark.parametrize("model", ["encoder", "dgcnn"])
def test_point_clouds(capsys, model):
    options = ["--epochs", "1", "--batches", "3", "--hidden", "8", "--depth", "2", "--k", "4"]
    out = printed(capsys, "point_clouds", "--model", model, *options)
    assert "epoch 1: test accuracy " in out
    assert f"generated shapes, {model}" in out


def test_superpixels(capsys):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    out = printed(capsys, "superpixels", "--epochs", "1", "--images", "60", "--hidden", "8", "--superpixels", "20")
    assert "digits, edge, 48 training images: test accuracy " in out


def test_pyramid_convs(capsys):
    pytest.importorskip("sklearn")
    out = printed(capsys, "pyramid_convs", "--epochs", "1", "--images", "60")
    assert all(f"digits, {conv}: test accuracy " in out for conv in ("GATv2Conv", "TransformerConv", "max_relative"))


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")  # captum, about PyG's call
def test_explain_images(capsys, tmp_path):
    for needed in ("captum", "matplotlib", "sklearn", "tabulate"):
        pytest.importorskip(needed)
    file = tmp_path / "explained.png"
    out = printed(capsys, "explain_images", "--images", "60", "--epochs", "1", "--explain", "1", "--picture", str(file))
    assert "ViGBlock" in out
    assert "integrated gradients: the answer stays with the strongest pixels alone " in out
    assert file.stat().st_size > 10_000
