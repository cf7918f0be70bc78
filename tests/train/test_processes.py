"""Training with two processes equals training with one on the same images per step."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pyg_vig
from pyg_vig.train import Run, RunConfig
from pyg_vig.train.run_folder import create_run_folder

# Norms are frozen, because their batch statistics differ between processes. The graph is fixed and the precision is
# float64, because k-NN and Adam (for gradients close to zero) amplify rounding errors.
OPTIONS = {"depth": 2, "channels": 16, "graph": "grid"}


def config(runs: Path, **changes: object) -> RunConfig:
    options = RunConfig(
        limit=64, batch_size=16, epochs=2, options=OPTIONS, frozen_norms=True, precision="64-true", runs=str(runs)
    )
    return replace(options, **changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return pyg_vig.load_model(folder / "model.safetensors").state_dict()


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-6), name


@pytest.fixture(scope="module")
def single_process_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run.start(config(tmp_path_factory.mktemp("alone")))
    run.fit()
    return run


@pytest.mark.slow
def test_two_processes_learn_what_one_does(single_process_run: Run, tmp_path: Path) -> None:
    config(tmp_path, accelerator="cpu", devices=2).save(tmp_path / "options.yaml")
    command = [sys.executable, "-m", "pyg_vig.cli", "train", "--config", str(tmp_path / "options.yaml")]
    finished = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=900
    )
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in tmp_path.glob("digits*")] == ["digits-vig_nano"]
    assert finished.stdout.count("test accuracy") == 1
    trained = weights(tmp_path / "digits-vig_nano")
    assert_close(weights(single_process_run.folder), trained)
    start = single_process_run.start(config(tmp_path, name="start")).model.state_dict()
    assert not torch.allclose(start["head.classifier.weight"], trained["head.classifier.weight"], atol=1e-3)


def test_accumulated_batches_learn_what_a_whole_one_does(single_process_run: Run, tmp_path: Path) -> None:
    run = Run.start(config(tmp_path, accumulate=4, grad_checkpointing=True))
    run.fit()
    assert_close(weights(single_process_run.folder), weights(run.folder))


def test_frozen_norms_keep_their_statistics(single_process_run: Run) -> None:
    state = weights(single_process_run.folder)
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert len(means) > 5
    assert all(not mean.any() for mean in means)


def test_processes_share_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYG_VIG_RUN", "")  # so that the variable is removed after the test
    monkeypatch.delenv("PYG_VIG_RUN")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="set --name if processes are started by torchrun"):
        create_run_folder(config(tmp_path))
    assert create_run_folder(config(tmp_path, name="mine")) == tmp_path / "mine"
    monkeypatch.setenv("RANK", "0")
    first = create_run_folder(config(tmp_path))
    monkeypatch.setenv("RANK", "1")
    assert create_run_folder(config(tmp_path)) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_batches_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size must be a multiple of accumulate"):
        config(tmp_path, accumulate=3)
