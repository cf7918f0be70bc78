"""Training runs on a few synthetic images, from options to run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyg_vig
from pyg_vig.configs import list_recipes, recipe
from pyg_vig.tasks import detection, load_model, segmentation
from pyg_vig.tasks.detection import DetectionRun
from pyg_vig.tasks.segmentation import SegmentationRun
from pyg_vig.train.callbacks import read_metrics
from pyg_vig.train.curves import plot_curves

TINY: dict[str, Any] = {
    "backbone": "pvig_ti",
    "backbone_options": {"channels": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "k": 2},
    "train_split": "part",
    "val_split": "part",
    "batch_size": 2,
    "warmup_steps": 1,
    "accelerator": "cpu",
    "schedule": "cosine",
    "lr": 2e-3,
}
DETECTOR: dict[str, Any] = {
    "channels": 16,
    "head_channels": 32,
    "anchor_size": 8,
    "options": {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_train": 50, "rpn_post_nms_top_n_test": 30},
}
DETECTOR["options"] |= {"box_batch_size_per_image": 32, "rpn_batch_size_per_image": 64}


def detector_options(folder: Path, runs: Path, **changes: Any) -> detection.DetectionConfig:
    return detection.DetectionConfig(data=str(folder), runs=str(runs), **TINY | DETECTOR | changes)


def test_a_detector_learns_what_it_is_shown(coco_folder: Path, tmp_path: Path) -> None:
    options = {"epochs": 24, "evaluate_every": 12, "norm_epochs": 18, "lr": 3e-3, "clip": 5.0, "flip": False}
    run = DetectionRun.start(detector_options(coco_folder, tmp_path / "runs", channels=32, head_channels=64, **options))
    metrics = run.fit()
    assert metrics["val_box_map50"] > 0.5
    assert metrics["val_mask_map50"] > 0.5
    assert run.folder.name == "mask_rcnn-pvig_ti"
    files = {"config.yaml", "curves.png", "last.ckpt", "metrics.csv", "model.safetensors", "result.json"}
    assert {file.name for file in run.folder.iterdir()} == files
    rows = read_metrics(run.folder / "metrics.csv")
    assert {"train_loss", "train_loss_mask", "lr", "images_per_second"} <= set(rows[0])
    assert [i for i, row in enumerate(rows) if "val_mask_map" in row] == [11, 23]
    assert list(load_model(run.weights).config.classes) == ["red", "blue"]
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["anchor_size"] == 8


def test_an_interrupted_run_goes_on_exactly(coco_folder: Path, tmp_path: Path) -> None:
    class Interruption(Exception):
        pass

    whole = DetectionRun.start(detector_options(coco_folder, tmp_path / "whole", epochs=2, evaluate_every=2))
    whole.fit()
    part = DetectionRun.start(detector_options(coco_folder, tmp_path / "part", epochs=2, evaluate_every=2))

    def interrupt() -> None:
        if part.module.current_epoch == 1:
            raise Interruption

    part.module.on_train_epoch_end = interrupt
    with pytest.raises(Interruption):
        part.fit()
    resumed = DetectionRun.resume(part.folder)
    resumed.fit()
    one, other = (load_model(run.weights).state_dict() for run in (whole, resumed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert [row["epoch"] for row in read_metrics(resumed.folder / "metrics.csv")] == [0, 1]


def test_a_segmenter_learns_what_it_is_shown(ade20k_folder: Path, tmp_path: Path) -> None:
    narrow = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32, "decoder_dropout": 0.0}
    scales = {"size": 64, "scale_min": 1.0, "scale_max": 1.0, "flip": False, "options": narrow}
    options = TINY | scales | {"epochs": 12, "evaluate_every": 12, "norm_epochs": 9, "lr": 8e-3}
    run = SegmentationRun.start(
        segmentation.SegmentationConfig(data=str(ade20k_folder), runs=str(tmp_path / "runs"), **options)
    )
    metrics = run.fit()
    assert metrics["val_miou"] > 0.7
    assert metrics["val_pixel_accuracy"] > 0.85
    assert not any(m.training for m in run.module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
    rows = read_metrics(run.folder / "metrics.csv")
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]


def test_a_loss_that_is_no_number_stops_the_run(coco_folder: Path, tmp_path: Path) -> None:
    options = {"detector": "retinanet", "epochs": 1, "options": {"min_size": 64, "max_size": 96}}
    run = DetectionRun.start(detector_options(coco_folder, tmp_path / "runs", **options))
    with torch.no_grad():
        run.module.model.head.regression_head.bbox_reg.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"the loss is nan in step 1 \(epoch 0, batch 0"):
        run.fit()


@pytest.mark.parametrize("name", list_recipes("train-detector"))
def test_recipes_of_detectors_bear_their_names(name: str) -> None:
    assert name == f"{detection.DetectionConfig(**recipe(name, 'train-detector')).decoder}_1x"


def test_the_default_learning_rate_is_that_of_the_recipe_for_so_few_images() -> None:
    for command, name, kind in (
        ("train-detector", "mask_rcnn_1x", detection.DetectionConfig),
        ("train-segmenter", "semantic_fpn_ade20k", segmentation.SegmentationConfig),
    ):
        default = kind(data="folder")
        scaled = kind(**recipe(name, command) | {"batch_size": default.batch_size})
        assert scaled.peak_lr == pytest.approx(default.peak_lr)


@pytest.mark.parametrize("name", list_recipes("train-segmenter"))
def test_recipes_of_segmenters_bear_their_names(name: str) -> None:
    decoder = segmentation.SegmentationConfig(**recipe(name, "train-segmenter")).decoder
    assert name.removeprefix("semantic_") == f"{decoder}_ade20k"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"name": "a/b"}, "name must be a folder name, not a path"),
    ],
)
def test_options_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detection.DetectionConfig(data="coco", **change)


def test_taken_names_and_folders_without_a_run_are_told(coco_folder: Path, tmp_path: Path) -> None:
    options = detector_options(coco_folder, tmp_path / "runs", name="mine")
    DetectionRun.start(options)
    with pytest.raises(ValueError, match="already exists: choose another --name"):
        DetectionRun.start(options)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        DetectionRun.resume(tmp_path)
    (tmp_path / "config.yaml").write_text("data: coco\nsegmenter: fpn\n")
    with pytest.raises(ValueError, match="has no option 'segmenter'"):
        DetectionRun.resume(tmp_path)


def test_curves_show_evaluations_that_are_not_in_the_last_epoch(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_loss,val_miou\n0,1.0,\n1,0.5,0.4\n2,0.3,\n")
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.svg", "A run")
    assert "<!-- mIoU -->" in (tmp_path / "curves.svg").read_text()


def test_goes_on_without_the_weights_that_it_began_with(coco_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    pyg_vig.save_checkpoint(pyg_vig.create_model("pvig_ti", **TINY["backbone_options"]), weights)
    run = DetectionRun.start(detector_options(coco_folder, tmp_path / "runs", epochs=1, weights=str(weights)))
    run.fit()
    weights.unlink()
    again = DetectionRun.resume(run.folder)
    assert again.module.model.config.freeze_norm
    assert again.module.config.weights is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "schedule must be one of steps, cosine, poly, got 'cosin'"),
        ({"clip": -1}, "clip must be 0 or more"),
        ({"scale_min": 2, "scale_max": 0.5}, "scale_min must be above 0 and at most scale_max"),
        ({"size": 0}, "size must be at least 1"),
        ({"segmenter": "unet"}, "segmenter must be one of fpn, upernet, got 'unet'"),
        ({"milestones": [0, 8]}, r"milestones must be a list of epochs, each at least 1, got \[0, 8\]"),
        ({"milestones": [0.5]}, "milestones must be a list, each item an integer"),
        ({"norm_epochs": -1}, "norm_epochs must be 0 or more"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_options_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation.SegmentationConfig(data="x", **{**TINY, **changes})


@pytest.mark.parametrize("name", ["channels", "head_channels", "anchor_size"])
def test_sizes_of_a_detector_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        detection.DetectionConfig(data="x", **{name: 0})
