from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import pyg_vig
from pyg_vig.train import Classification, Run, RunConfig, evaluate
from pyg_vig.train.callbacks import read_metrics

TINY = {"depth": 2, "channels": 16, "k": 3, "drop_path_rate": 0.2, "drop_rate": 0.2}
RANDOM = {"rand_augment": "rand-m9-mstd0.5-inc1", "erase": 0.5, "repeats": 2, "mixup": 0.2, "cutmix": 1.0}


def config(folder: Path, **changes: Any) -> RunConfig:
    """Enable every source of randomness and a weight average, all of which resuming has to restore."""
    small = RunConfig(limit=96, batch_size=16, options=TINY, epochs=2, runs=str(folder), ema=0.8, log_every=2, **RANDOM)
    return replace(small, **changes)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return pyg_vig.load_model(run.weights).state_dict()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a run of three epochs without interruption."""
    run = Run.start(config(tmp_path_factory.mktemp("runs"), epochs=3, name="whole", accumulate=2))
    run.fit()
    return run


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == []


def test_a_run_leaves_its_files(finished: Run) -> None:
    assert finished.draw() == finished.folder / "neighbors.png"
    assert sorted(path.name for path in finished.folder.iterdir()) == [
        "config.yaml", "curves.png", "last.ckpt", "logs", "metrics.csv",
        "model.safetensors", "neighbors.png", "result.json",
    ]  # fmt: skip
    with Image.open(finished.folder / "neighbors.png") as picture:
        assert min(picture.size) > 500
    rows = read_metrics(finished.folder / "metrics.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["step"] for row in rows] == [6, 12, 18]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    steps = [row for row in read_metrics(finished.folder / "logs/version_0/metrics.csv") if "images_per_second" in row]
    assert [row["step"] for row in steps] == list(range(2, 19, 2))
    assert all(row[name] > 0 for row in steps for name in ("loss", "images_per_second", "memory_gb"))
    assert steps[0]["lr"] > steps[-1]["lr"] == 0


def test_the_running_average_is_what_is_saved(finished: Run) -> None:
    state = torch.load(finished.folder / "last.ckpt", weights_only=True)
    name = "model.head.classifier.weight"
    assert not torch.equal(state["state_dict"][name], state["current_model_state"][name])
    assert torch.equal(state["state_dict"][name], weights(finished)["head.classifier.weight"])
    assert RunConfig.load(finished.folder / "config.yaml") == finished.config


def test_evaluation_repeats_the_accuracy_of_the_run(finished: Run) -> None:
    result = json.loads((finished.folder / "result.json").read_text())
    assert evaluate(finished.folder)._asdict() == result
    assert evaluate(finished.weights).accuracy == result["accuracy"]
    model = pyg_vig.load_model(finished.weights).eval()
    right = [model(images).argmax(1) == labels for images, labels in finished.data.test_dataloader()]
    assert result["accuracy"] == pytest.approx(torch.cat(right).float().mean().item())
    assert result["images"] == torch.cat(right).numel() == 96


def test_the_same_seed_gives_the_same_network(finished: Run, tmp_path: Path) -> None:
    again = Run.start(config(tmp_path, epochs=3, accumulate=2))
    again.fit()
    assert_equal_weights(weights(finished), weights(again))


def test_an_interrupted_run_resumes_exactly(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.start(config(tmp_path, epochs=3, accumulate=2))
    step = Classification.training_step

    def failing(module: Classification, batch: Any, batch_idx: int) -> torch.Tensor:
        if module.current_epoch == 1 and batch_idx == 4:
            raise RuntimeError("power cut")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Classification, "training_step", failing)
        run.fit()
    resumed = Run.resume(run.folder)
    resumed.fit()
    assert_equal_weights(weights(finished), weights(resumed))
    assert [row["epoch"] for row in read_metrics(run.folder / "metrics.csv")] == [0, 1, 2]


def test_a_run_stopped_after_its_last_epoch_resumes_with_the_running_average(tmp_path: Path) -> None:
    run = Run.start(config(tmp_path, epochs=1))
    result, trained = run.fit(), weights(run)
    for name in ("model.safetensors", "result.json"):
        (run.folder / name).unlink()
    resumed = Run.resume(run.folder)
    assert resumed.fit() == result
    assert_equal_weights(trained, weights(resumed))


@pytest.mark.slow
def test_a_killed_process_resumes_exactly(finished: Run, tmp_path: Path) -> None:
    finished.config.save(tmp_path / "options.yaml")
    command = [sys.executable, "-m", "pyg_vig.cli", "train", "--config", str(tmp_path / "options.yaml")]
    command += ["--runs", str(tmp_path), "--name", "killed"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "killed" / "last.ckpt").exists():
        time.sleep(0.01)
    time.sleep(0.1)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    resumed = Run.resume(tmp_path / "killed")
    resumed.fit()
    assert_equal_weights(weights(finished), weights(resumed))


def test_names_are_numbered_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folders = [Run.start(config(tmp_path)).folder.name for _ in range(3)]
    assert folders == ["digits-vig_nano", "digits-vig_nano-2", "digits-vig_nano-3"]
    Run.start(config(tmp_path, name="mine"))
    with pytest.raises(ValueError, match=r"mine already exists: choose another --name, or resume it with --resume"):
        Run.start(config(tmp_path, name="mine"))


def test_mistakes_are_told_before_a_folder_is_made(tmp_path: Path) -> None:
    for changes, message in [
        ({"data": "letters"}, "unknown data 'letters'"),
        ({"model": "vig_mini"}, "unknown model 'vig_mini'"),
        ({"options": {"kk": 1}}, "no option 'kk'"),
        ({"options": {"num_classes": 7}}, "digits has 10 classes: omit num_classes=7"),
        ({"options": {"in_channels": 4}}, "in_channels=4"),
    ]:
        with pytest.raises(ValueError, match=message):
            Run.start(config(tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is not the folder of a run"):
        Run.resume(tmp_path)


def test_a_run_starts_from_given_weights(finished: Run, tmp_path: Path) -> None:
    run = Run.start(config(tmp_path, weights=str(finished.weights)))
    assert_equal_weights(weights(finished), run.model.state_dict())


def test_evaluation_needs_to_know_the_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        evaluate(tmp_path)
    model = pyg_vig.create_model("vig_nano", depth=1, in_channels=1, num_classes=4)
    pyg_vig.save_checkpoint(model, tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match="set the data set to evaluate on with --data"):
        evaluate(tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match="digits has 10 classes, but the network has 4"):
        evaluate(tmp_path / "alone.safetensors", data="digits")
