from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pyg_vig
from pyg_vig.cli import main
from pyg_vig.export import Comparison


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkpoint() -> Path:
    model = pyg_vig.create_model("vig_nano", depth=1, channels=16, graph="svga")
    pyg_vig.save_checkpoint(model, Path("trained.safetensors"))
    return Path("trained.safetensors")


def test_a_checkpoint_becomes_a_verified_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(checkpoint), "--format", "pt2", "--image-size", "32", "48"])
    printed = capsys.readouterr().out
    assert "file        trained.pt2" in printed
    assert " MiB" in printed
    assert "of the largest score, over 8 images" in printed
    images = torch.rand(3, 3, 32, 48)
    network = torch.export.load("trained.pt2").module()
    expected = pyg_vig.load_model(checkpoint).eval()(images)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_the_suffix_says_the_format(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(checkpoint), "-o", "network.pt2"])
    assert "of the largest score, over 8 images" in capsys.readouterr().out
    assert torch.export.load("network.pt2").module()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("found", "lines", "fails"),
    [
        (Comparison((1e-7, 2e-7), (1e-7, 1e-7)), ["difference  1.0e-07 to 2.0e-07 of the largest score"], False),
        (Comparison((0.1, 2e-7), (0.3, 1e-7)), ["1 of 2 images agree to 1e-4", "differs by up to 3.0e-01"], False),
        (Comparison((0.1, 0.2), (0.3, 1e-7)), ["0 of 2 images agree to 1e-4"], True),
    ],
)
def test_differences_are_reported_as_they_are(
    found: Comparison,
    lines: list[str],
    fails: bool,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pyg_vig.cli.export.export_model", lambda *arguments, **options: checkpoint)
    monkeypatch.setattr("pyg_vig.cli.export.verify_export", lambda *arguments, **options: found)
    if fails:
        with pytest.raises(SystemExit, match="scores differ from the network's in all images"):
            main(["export", str(checkpoint)])
    else:
        main(["export", str(checkpoint)])
    printed = capsys.readouterr().out
    assert all(line in printed for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("vig_mini", "pyg-vig export: unknown model 'vig_mini'"),
        ("nowhere.safetensors", "pyg-vig export: no checkpoint at nowhere.safetensors"),
        ("vig_nano -o network.pb", "no format has the suffix of network.pb: use .onnx or .pt2"),
        ("vig_nano -o network.pt2 --format onnx", "a file in format onnx must end in .onnx, got network.pt2"),
        ("vig_nano -o nowhere/network.pt2", "cannot write network.pt2: the folder nowhere does not exist"),
        ("vig_nano --format tflite", "invalid choice: 'tflite'"),
        ("vig_nano --image-size 1 2 3", "--image-size takes a side, or height and width, got 1 2 3"),
    ],
)
def test_mistakes_become_one_clear_line(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["export", *options.split()])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
