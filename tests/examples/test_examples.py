"""The examples run briefly on bundled or generated data and print the expected results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

from pyg_vig.nn import GraphEncoder

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


def run_main(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    importlib.import_module(name).main(list(arguments))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("custom_conv", "--images"),
        ("explain_images", "--explain"),
        ("graph_classification", "--splits"),
        ("large_graph", "--nodes"),
        ("node_classification", "--seeds"),
        ("point_clouds", "--batches"),
        ("pyramid_convs", "--epochs"),
        ("superpixels", "--test-images"),
    ],
)
def test_too_small_numbers_are_refused(capsys, name, option):
    for needed in ("captum", "matplotlib", "skimage", "sklearn"):
        pytest.importorskip(needed)
    with pytest.raises(SystemExit):
        run_main(capsys, name, option, "0")
    assert f"argument {option}: expected at least " in capsys.readouterr().err


def test_custom_conv(capsys):
    pytest.importorskip("sklearn")
    out = run_main(capsys, "custom_conv", "--epochs", "1", "--images", "80")
    assert "GatedConv: " in out
    assert "ViG's max-relative conv: " in out


def test_node_classification(capsys):
    out = run_main(capsys, "node_classification", "--epochs", "20", "--seeds", "2")
    assert "KarateClub" in out
    assert "over 2 seeds" in out


def test_graph_classification(capsys):
    out = run_main(capsys, "graph_classification", "--epochs", "3", "--hidden", "16", "--depth", "2")
    assert "generated graphs, gin: test accuracy " in out


@pytest.mark.parametrize("model", ["encoder", "dgcnn"])
def test_point_clouds(capsys, model):
    options = ["--epochs", "1", "--batches", "3", "--hidden", "8", "--depth", "2", "--k", "4"]
    out = run_main(capsys, "point_clouds", "--model", model, *options)
    assert "epoch 1: test accuracy " in out
    assert f"generated shapes, {model}" in out


def test_superpixels(capsys):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    out = run_main(capsys, "superpixels", "--epochs", "1", "--images", "60", "--hidden", "8", "--superpixels", "20")
    assert "digits, edge, 48 training images: test accuracy " in out


def test_pyramid_convs(capsys, tmp_path):
    pytest.importorskip("sklearn")
    file, convs = tmp_path / "results" / "convs.json", ["GATv2Conv", "TransformerConv", "max_relative"]
    out = run_main(capsys, "pyramid_convs", "--epochs", "1", "--images", "60", "--output", str(file))
    assert all(f"digits, {conv}: test accuracy " in out for conv in convs)
    results = json.loads(file.read_text())
    assert list(results["accuracy"]) == results["settings"]["conv"] == convs
    assert "machine" in results and str(tmp_path) not in file.read_text()


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")  # from captum, about PyG's call
def test_explain_images(capsys, tmp_path):
    for needed in ("captum", "matplotlib", "sklearn", "tabulate"):
        pytest.importorskip(needed)
    file = tmp_path / "explained.png"
    options = ["--images", "60", "--epochs", "1", "--explain", "1"]
    out = run_main(capsys, "explain_images", *options, "--picture", str(file))
    assert "ViGBlock" in out
    assert "integrated gradients: prediction unchanged with only the strongest pixels " in out
    assert file.stat().st_size > 10_000


def test_large_graph(capsys):
    options = ["--nodes", "1600", "--epochs", "30", "--batch-size", "80", "--chunk", "300"]
    out = run_main(capsys, "large_graph", *options)
    assert "generated graph of 1,600 nodes, gin: test accuracy " in out
    assert float(out.rsplit(" ", 1)[1].rstrip("%\n")) > 55  # 30 % from a node's own features


@pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin", "cross_attention"])
def test_inference_in_chunks_is_that_of_the_whole_graph(tmp_path, conv):
    example = importlib.import_module("large_graph")
    data = example.generate_graph(400)
    data.edge_index = data.edge_index[:, data.edge_index[1] % 5 != 0]  # every fifth node has no neighbours
    model = GraphEncoder(8, 16, 8, depth=3, conv=conv, pool=None).eval()
    actual = example.infer(model, data.x.numpy(), example.to_csr(data), tmp_path, chunk=150)
    torch.testing.assert_close(actual, model(data.x, data.edge_index), rtol=1e-4, atol=1e-4)


def test_samples_hold_the_edges_of_the_graph():
    example = importlib.import_module("large_graph")
    data = example.generate_graph(80)
    source, ptr = example.to_csr(data)
    seeds = torch.tensor([7, 3, 50])
    nodes, edges = example.sample(source, ptr, seeds, [4, 2])
    assert torch.equal(nodes[:3], seeds)
    assert len(nodes.unique()) == len(nodes)
    drawn, known = nodes[edges].t().tolist(), data.edge_index.t().tolist()
    assert all(edge in known for edge in drawn)
    for seed in range(3):
        assert 1 <= (edges[1] == seed).sum() <= 4
    assert edges.max() == len(nodes) - 1


def test_point_cloud_curves(tmp_path):
    pytest.importorskip("matplotlib")
    run = {"settings": {"model": "dgcnn"}, "curve": [{"minutes": 1.0, "accuracy": 0.5}]}
    file, picture = tmp_path / "run.json", tmp_path / "curves.png"
    file.write_text(json.dumps(run))
    importlib.import_module("point_cloud_curves").main([str(file), "-o", str(picture)])
    assert picture.stat().st_size > 10_000
