from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.case import Case

TINY = ["--device", "cpu", "--models", "vig_nano", "--batch", "2", "--size", "32", "--dtype", "float32"]
TINY += ["--rounds", "1", "--no-compile", "--no-tf32"]


@pytest.fixture(autouse=True)
def measure_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: fresh ones take long to start, and other tests cover them."""
    monkeypatch.setattr(gpu, "in_fresh_process", lambda function, malloc, *arguments: function(*arguments))


def test_a_second_call_measures_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    first = gpu.main([*TINY, "--output", str(output), "--modes", "inference"])["gpu"]
    assert [row["subject"] for row in first] == [gpu.EAGER, gpu.NO_KERNELS, gpu.FUSED, gpu.PRODUCTS]
    assert all(row["median"] > 0 and row["share_of_product_rate"] > 0 for row in first)
    both = gpu.main([*TINY, "--output", str(output)])["gpu"]
    assert both[: len(first)] == first
    assert {row["mode"] for row in both} == {"inference", "training"}
    assert json.loads(output.read_text())["gpu"] == both
    assert "of product rate" in capsys.readouterr().out


def test_the_budget_ends_a_run_between_cases(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    assert gpu.main([*TINY, "--output", str(output), "--budget", "-1"])["gpu"] == []


def test_what_fails_is_noted_and_the_rest_measured(tmp_path: Path) -> None:
    case, lock_file = Case("vig_nano", batch=2, size=32, threads=1), tmp_path / "lock"
    lock_file.touch()
    rows = gpu.measure(case, "inference", [gpu.EAGER, "unheard of"], 1, False, str(lock_file))
    assert [row["subject"] for row in rows] == ["unheard of", gpu.EAGER, gpu.PRODUCTS]
    assert "got 'unheard of'" in rows[0]["error"]
    assert "unheard of" in gpu.gpu_table([{**dict.fromkeys(gpu._KEYS, ""), **row} for row in rows])


def test_one_measures_while_the_others_wait(tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    lock_file.touch()
    shared, exclusive = fcntl.LOCK_SH, fcntl.LOCK_EX
    with open(lock_file) as lock:
        with gpu._lock(str(lock_file), shared), gpu._lock(str(lock_file), shared), pytest.raises(BlockingIOError):
            fcntl.flock(lock, exclusive | fcntl.LOCK_NB)
        with gpu._lock(str(lock_file), exclusive), pytest.raises(BlockingIOError):
            fcntl.flock(lock, shared | fcntl.LOCK_NB)


def test_subjects_of_a_case() -> None:
    options = gpu.parse([*TINY, "--output", "gpu.json", "--compile", "--models", "vig_ti", "--reference", "DIR"])
    ((case, mode), (_, training)) = gpu.cases(options)
    names = gpu.subjects(case, mode, options)
    assert names[:6] == ["official", gpu.EAGER, gpu.NO_KERNELS, gpu.FUSED, gpu.COMPILED, gpu.COMPILED_GRAPHS]
    assert names[6:] == ["deit_tiny_patch16_224", "deit_tiny_patch16_224, compiled", "resnet18", "resnet18, compiled"]
    assert gpu.FUSED not in gpu.subjects(case, training, options)
    options = gpu.parse([*TINY, "--output", "gpu.json", "--no-timm", "--subjects", gpu.EAGER, gpu.FUSED])
    assert [gpu.subjects(*case, options) for case in gpu.cases(options)] == [[gpu.EAGER, gpu.FUSED], [gpu.EAGER]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.parse(["--output", "gpu.json"])
    assert "PyTorch finds none" in capsys.readouterr().err
