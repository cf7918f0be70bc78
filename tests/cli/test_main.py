from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image

import pyg_vig
from pyg_vig.cli import main

matplotlib.use("Agg")

QUICK = ["--limit", "64", "--epochs", "2", "--batch-size=16", "--options.depth", "2", "--options.channels", "16"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


def test_train_then_evaluate_inspect_and_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", *QUICK, "--options.conv", "edge"])
    printed = capsys.readouterr().out
    folder = tmp_path / "runs" / "digits-vig_nano"
    assert "writing to runs/digits-vig_nano" in printed
    assert "picture       runs/digits-vig_nano/neighbors.png" in printed
    accuracy = next(line for line in printed.splitlines() if line.startswith("test accuracy"))
    for checkpoint in (folder, folder / "model.safetensors"):
        main(["eval", str(checkpoint)])
        assert last_line(capsys) == accuracy
    assert pyg_vig.load_model(folder / "model.safetensors").config.conv == "edge"
    main(["info", str(folder)])
    assert "conv             edge" in capsys.readouterr().out
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), (200, 100, 0)).save(photo)
    main(["graph", str(photo), "--model", str(folder), "--patches", "0.2,0.3", "-o", "figure.svg"])
    assert (tmp_path / "figure.svg").stat().st_size > 1000
    with pytest.raises(SystemExit):
        main(["train", "--resume", str(folder), "--lr", "1"])
    assert "drop --lr" in capsys.readouterr().err
    main(["train", "--resume", str(folder)])  # nothing is left to train
    assert accuracy in capsys.readouterr().out


def test_options_come_from_a_file_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "options.yaml").write_text("epochs: 3\noptions:\n  depth: 1\nlr: 0.1\n")
    command = ["train", "--config", "options.yaml", "--lr", "0.2", "--options.k", "4"]
    with pytest.raises(SystemExit):
        main([*command, "--print_config"])
    assert "lr: 0.2" in (printed := capsys.readouterr().out)
    assert "epochs: 3" in printed
    assert "  depth: 1\n  k: 4" in printed


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --data letters", "pyg-vig train: unknown data 'letters': choose digits, "),
        ("train --model vig_mini", "pyg-vig train: unknown model 'vig_mini'"),
        ("train --options.kk 3", "pyg-vig train: vig_nano has no option 'kk': did you mean 'k'? Valid ones are "),
        ("train --data imagefolder:nowhere", "pyg-vig train: no folder nowhere/train"),
        ("train --data cifar10 --root nowhere", "pyg-vig train: cifar10 was not found in nowhere"),
        ("train --epochs 0", "pyg-vig train: epochs must be at least 1, got 0"),
        ("train --epochs many", "epochs"),
        ("train --resume nowhere", "pyg-vig train: nowhere is not the folder of a run"),
        ("eval nowhere", "pyg-vig eval: no checkpoint at nowhere"),
        ("info nowhere.safetensors", "pyg-vig info: no checkpoint at nowhere.safetensors"),
        ("info vig_mini", "pyg-vig info: unknown model 'vig_mini'"),
        ("info vig_nano --size -3", "pyg-vig info: size must be at least 1 pixel, got -3"),
        ("info vig_nano --size 0", "pyg-vig info: size must be at least 1 pixel, got 0"),
        ("graph nowhere.jpg --model vig_nano", "no image file at nowhere.jpg"),
        ("graph example --model vig_nano --patches 2,0", "--patches takes positions Y,X in [0, 1)"),
        ("graph example --model vig_nano --patches 0.4", "such as 0.4,0.7, got 0.4"),
        ("fly", "invalid choice: 'fly'"),
    ],
)
def test_mistakes_become_one_clear_line(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("info w.pth", "pyg-vig info: w.pth is not a valid .safetensors file"),
        ("eval w.pth --data digits", "pyg-vig eval: w.pth is not a valid .safetensors file"),
        (
            "graph example --model vig_nano --checkpoint w.pth",
            "pyg-vig graph: w.pth cannot be read: expected a .safetensors file",
        ),
    ],
)
def test_files_that_cannot_be_read_become_one_clear_line(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w.pth").write_bytes(b"hello world")
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--accelerator", "gpu"])
    assert "finds no GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "package", "module"),
    [("train", "lightning", "pyg_vig.train"), ("graph example", "matplotlib", "pyg_vig.plot")],
)
def test_missing_packages_are_told_with_the_way_to_install_them(
    command: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert f"{package} is not installed: pip install 'pyg-vig[train,images,plot]'" in capsys.readouterr().err


def test_models_lists_sizes_and_published_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "vig_[nt]*"])
    nano, tiny = capsys.readouterr().out.splitlines()[1:]
    assert nano.split()[0] == "vig_nano"
    assert nano.endswith("-")
    assert tiny.split() == ["vig_ti", "7,184,744", "224", "1.301", "G", "73.9", "%"]


def test_models_tells_a_pattern_that_nothing_matches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "resnet*"])
    assert "no network matches 'resnet*': choose among vig_nano, " in capsys.readouterr().err


def test_info_of_a_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", "vig_ti"])
    printed = capsys.readouterr().out
    assert "parameters     7,184,744" in printed
    assert "multiply-adds  1.301 G at 224 x 224" in printed
    assert "73.9 % top-1" in printed
    assert "3 blocks, 192 channels, stride 16" in printed


def test_a_folder_without_weights_does_not_hide_the_network_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vig_nano").mkdir()
    main(["info", "vig_nano"])
    assert "parameters     106,986" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit):
        main(["info", "mine"])
    assert "no checkpoint at mine/model.safetensors" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"  {command} " in printed for command in ("train", "eval", "models", "info", "graph"))


@pytest.mark.slow
def test_the_entry_point_runs() -> None:
    script = shutil.which("pyg-vig", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "pyg_vig.cli"]
    finished = subprocess.run([*command, "train", *QUICK], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "test accuracy" in finished.stdout
    assert Path("runs/digits-vig_nano/neighbors.png").exists()


def test_an_interruption_tells_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyg_vig.train.Run.fit", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["train", *QUICK])
    assert "resume it with: pyg-vig train --resume runs/digits-vig_nano" in capsys.readouterr().err


def test_a_picture_without_suffix_is_named_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    main(["graph", "example", "--model", "vig_nano", "-o", "graph"])
    assert last_line(capsys) == "picture graph.png"
    assert Path("graph.png").exists()


def test_a_reader_that_leaves_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("pyg_vig.cli.models.run", broken)
    with (tmp_path / "out").open("w") as out, pytest.raises(SystemExit, match="1"):
        monkeypatch.setattr(sys, "stdout", out)
        main(["models"])


def test_graphs_of_networks_with_convolution_blocks_are_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "graph.png"
    main(["graph", "example", "--model", "mobilevig_ti", "-o", str(picture)])
    assert picture.stat().st_size > 10_000
