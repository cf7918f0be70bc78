"""Failures in long runs: unreadable files and NaN losses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import pyg_vig
from pyg_vig.cli import main
from pyg_vig.models import get_config
from pyg_vig.train import Classification, ImageData, Run, RunConfig, evaluate, load_splits
from pyg_vig.train.callbacks import read_metrics

TINY = {"depth": 1, "channels": 16, "k": 3}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write two classes of eight photos, among them a truncated JPEG and a text file named as an image."""
    root = tmp_path / "photos"
    for part in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (40, 40), (label * 200, 10 * i, 0)).save(root / part / name / f"{i}.jpg")
        whole = (root / part / "cat" / "3.jpg").read_bytes()
        (root / part / "cat" / "3.jpg").write_bytes(whole[: len(whole) // 2])
        (root / part / "dog" / "5.jpg").write_text("no image")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_named_skipped_and_counted(photos: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    config = RunConfig(data=f"imagefolder:{photos}", batch_size=4, workers=workers)
    data = ImageData(load_splits(config.data), get_config("vig_nano"), config)
    labels = torch.cat([labels for _, labels in data.val_dataloader()])
    assert labels.bincount().tolist() == [7, 7]
    assert data.skipped == 2
    if workers == 0:  # worker processes have their own logs
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
        assert {name for name in ("cat/3.jpg", "dog/5.jpg") if name in caplog.text} == {"cat/3.jpg", "dog/5.jpg"}


@pytest.mark.parametrize("workers", [0, 2])
def test_another_image_takes_the_place_of_a_bad_one_in_training(photos: Path, workers: int) -> None:
    config = RunConfig(data=f"imagefolder:{photos}", batch_size=4, workers=workers)
    data = ImageData(load_splits(config.data), get_config("vig_nano"), config)
    labels = [labels for _, labels in data.train_dataloader()]
    assert [len(part) for part in labels] == [4] * 4
    assert torch.cat(labels).bincount().tolist() == [8, 8]  # replaced by the next image, here of the same class
    assert data.skipped == 2


def test_a_batch_of_bad_images_is_left_out_of_an_evaluation(photos: Path) -> None:
    config = RunConfig(data=f"imagefolder:{photos}", batch_size=1)
    data = ImageData(load_splits(config.data), get_config("vig_nano"), config)
    assert [len(labels) for _, labels in data.val_dataloader()] == [1] * 14


def test_images_of_which_none_can_be_read_are_an_error(photos: Path, tmp_path: Path) -> None:
    options = {"data": f"imagefolder:{photos}", "batch_size": 4, "epochs": 1, "options": TINY, "runs": str(tmp_path)}
    for file in (photos / "val").rglob("*.jpg"):
        file.write_text("no image")
    with pytest.raises(ValueError, match=r"none of the held-out images of imagefolder:.* can be read"):
        Run.start(RunConfig(**options)).fit()
    for file in (photos / "train").rglob("*.jpg"):
        file.write_text("no image")
    with pytest.raises(ValueError, match=r"16 consecutive images cannot be read, the last one is .*\.jpg"):
        Run.start(RunConfig(**options)).fit()


def test_a_run_on_bad_images_ends_and_tells(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "--data", f"imagefolder:{photos}", "--options.depth", "1", "--epochs", "1", "--batch-size", "8"])
    printed = capsys.readouterr().out
    assert "skipped       6 unreadable images" in printed  # training, validation and test
    assert "on 14 held-out images" in printed
    assert read_metrics(next(tmp_path.glob("runs/*/metrics.csv")))[0]["skipped_images"] == 4


@pytest.mark.parametrize("batch", [2, 5])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    step = Classification.training_step

    def diverging(module: Classification, images: Any, batch_idx: int) -> torch.Tensor:
        loss = step(module, images, batch_idx)
        return loss * torch.nan if (module.current_epoch, batch_idx) == (1, batch) else loss

    run = Run.start(RunConfig(limit=48, batch_size=8, options=TINY, epochs=3, runs=str(tmp_path)))
    images = ", ".join(map(str, run.data.images_of_batch(1, batch)))
    with monkeypatch.context() as patch:
        patch.setattr(Classification, "training_step", diverging)
        with pytest.raises(
            FloatingPointError, match=rf"nan in step {7 + batch} \(epoch 1, batch {batch}, .* images {images}, "
        ):
            run.fit()
    kept = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 6  # from the previous epoch
    Run.resume(run.folder).fit()
    assert [row["epoch"] for row in read_metrics(run.folder / "metrics.csv")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"depth": 1, "k": 500}}, "k=500"),
        ({"teacher": "nosuch"}, "nosuch"),
        ({"rand_augment": "zzz"}, "rand_augment must be a timm policy"),
    ],
)
def test_what_is_refused_leaves_no_folder(tmp_path, changes, message):
    with pytest.raises((ValueError, OSError), match=message):
        Run.start(RunConfig(limit=32, batch_size=16, epochs=1, runs=str(tmp_path), **changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "foo"}, "precision must be one of 32-true, .*, got 'foo'"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"batch_size": 10, "accumulate": 3}, r"batch_size must be a multiple of accumulate \(3\), got 10"),
        ({"strategy": "dp"}, "strategy must be one of auto, ddp, fsdp, got 'dp'"),
        ({"loggers": ["csv", "mlflow"]}, "loggers must be a list, each item one of csv, tensorboard, wandb, got"),
        ({"devices": "all"}, "devices must be an integer or one of auto, got 'all'"),
        ({"devices": 0}, "devices must be at least 1, got 0"),
        ({"augment": "flip"}, "augment must be one of auto, affine, .*, got 'flip'"),
        ({"lr": "1e-3"}, "lr must be a number, got '1e-3'"),  # YAML reads 1e-3 as a string
        ({"epochs": True}, "epochs must be an integer, got True"),
        ({"options": ["depth"]}, "options must be a mapping"),
        ({"weights": 3}, "weights must be a string or null, got 3"),
    ],
)
def test_options_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**changes)


def test_paths_are_text_among_the_options(tmp_path):
    config = RunConfig(root=tmp_path, runs=tmp_path / "runs")
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config == RunConfig(root=str(tmp_path), runs=f"{tmp_path}/runs")


def test_a_logger_needs_its_package(monkeypatch):
    monkeypatch.setattr("pyg_vig.train.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="the logger wandb requires the package wandb: pip install wandb"):
        RunConfig(loggers=["wandb"])


def test_classes_of_other_names_are_not_taken_for_those_of_training(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for part in ("train", "val"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (0, 0, 255 * (name == "cat"))).save(tmp_path / "photos" / part / name / "1.png")
            Image.new("RGB", (32, 32), (0, 9, 255 * (name == "cat"))).save(tmp_path / "photos" / part / name / "2.png")
    data = f"imagefolder:{tmp_path / 'photos'}"
    options = {"depth": 1, "image_size": 32}
    run = Run.start(RunConfig(data=data, batch_size=4, epochs=1, options=options, runs=str(tmp_path / "runs")))
    run.fit()
    config = pyg_vig.load_model(run.weights).config
    assert tuple(config.classes) == ("cat", "dog")
    assert config.crop == 0.9
    assert evaluate(run.folder).images == 4
    for part in ("train", "val"):
        (tmp_path / "photos" / part / "cat").rename(tmp_path / "photos" / part / "zebra")
    with pytest.raises(ValueError, match="has class 'dog' where the network was trained with 'cat'"):
        evaluate(run.folder)


def test_an_empty_file_of_options_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="must contain options, one 'name: value' per line, got None"):
        RunConfig.load(tmp_path / "config.yaml")
