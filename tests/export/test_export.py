from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pyg_vig
from pyg_vig.export import Comparison, export_model, export_pt2, verify_export
from pyg_vig.export.formats import example_images, trace
from pyg_vig.graph.knn import backends
from tests.models.networks import FAMILIES, SIZE, small_network

onnxruntime = pytest.importorskip("onnxruntime")
OURS = [family for family in FAMILIES if family != "GATv2Conv"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("family", OURS)
def test_exported_program_computes_the_same_for_any_batch(family: str) -> None:
    """Compare in float64, where rounding does not decide near-ties between neighbours differently."""
    model = small_network(family).double()
    program = trace(model)
    custom = {str(node.target) for node in program.graph.nodes if "pyg_vig" in str(node.target)}
    assert not custom
    for batch in (1, 3, 40):
        images = torch.randn(batch, 3, SIZE, SIZE, dtype=torch.float64)
        torch.testing.assert_close(program.module()(images), model(images))


@pytest.mark.parametrize("family", ["vig", "pyramid", "greedyvig", "attention_vig", "edge"])
def test_onnx_runs_elsewhere_with_the_same_scores(family: str) -> None:
    model = small_network(family)
    path = export_model(model, "network.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        images = torch.randn(batch, 3, SIZE, SIZE)
        (scores,) = session.run(["scores"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(scores), model(images).detach(), rtol=1e-4, atol=1e-4)
    comparison = verify_export(model, path)
    assert comparison.agrees
    assert [file.name for file in Path().iterdir()] == ["network.onnx"]


def test_a_file_runs_without_the_library() -> None:
    model = small_network("vig")
    path = export_pt2(model, "network.pt2", image_size=(32, 48))
    images = example_images(model, 3, (32, 48))
    torch.save(images, "images.pt")
    code = """if True:
        import sys, torch
        scores = torch.export.load("network.pt2").module()(torch.load("images.pt"))
        assert not any(name.startswith(("pyg_vig", "torch_geometric")) for name in sys.modules)
        torch.save(scores.detach(), "scores.pt")
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    torch.testing.assert_close(torch.load("scores.pt"), model(images).detach(), rtol=1e-4, atol=1e-4)
    assert path.exists()


@pytest.mark.slow
def test_compiled_package_computes_the_same() -> None:
    model = small_network("svga")
    path = export_model(model, "network.pt2", format="aoti")
    assert verify_export(model, path, format="aoti").alike == 8


def test_the_file_of_another_network_does_not_agree() -> None:
    model = small_network("svga")
    path = export_pt2(model, "network.pt2")
    torch.nn.init.normal_(model.head.classifier.weight)
    comparison = verify_export(model, path, format="pt2", images=4)
    assert comparison.alike == 0 and not comparison.agrees
    assert max(comparison.rounding) < 1e-5


def test_agreement_is_not_judged_by_the_first_image() -> None:
    assert not Comparison(by_image=(1e-7, 0.1, 0.2), rounding=(0.1,) * 3).agrees
    assert Comparison(by_image=(0.1, 0.2, 1e-7), rounding=(0.1,) * 3).agrees


def test_images_that_sway_the_network_itself_do_not_tell() -> None:
    assert Comparison(by_image=(0.1, 0.05), rounding=(0.06, 0.07)).undecided
    assert not Comparison(by_image=(0.1, 0.05), rounding=(0.06, 1e-7)).undecided
    assert not Comparison(by_image=(0.5, 0.05), rounding=(0.06, 0.07)).undecided


def test_a_failure_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no neighbours")

    Path("network.pt2").write_text("before")
    monkeypatch.setattr(backends, "nearest", broken)
    with pytest.raises(RuntimeError, match="no neighbours"):
        export_model(small_network("vig"), "network.pt2")
    assert Path("network.pt2").read_text() == "before"
    assert len(list(Path().iterdir())) == 1


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("network.pb", {}, "no format has the suffix of network.pb: use .onnx or .pt2"),
        ("network.onnx", {"format": "tflite"}, "unknown format 'tflite': choose one of onnx, pt2, aoti"),
        ("network.onnx", {"format": "pt2"}, "a file in format pt2 must end in .pt2, got network.onnx"),
    ],
)
def test_mistakes_are_told(path: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export_model(small_network("vig"), path, **options)


def test_a_missing_folder_is_told_before_any_work() -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write network\.onnx: the folder nowhere does not exist"):
        export_model(small_network("vig"), "nowhere/network.onnx")


def test_networks_on_graphs_and_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="takes PyG graphs, not images"):
        export_model(pyg_vig.create_model("vig_nano", stem="patch", graph="given"), "network.pt2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need onnx, onnxscript: pip install 'pyg-vig\[export\]'"):
        export_model(small_network("vig"), "network.onnx")
