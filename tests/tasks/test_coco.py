from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyg_vig.tasks.detection import AveragePrecision, CocoData, CocoImages
from tests.tasks.conftest import COLOURS, SIZES, rectangle


def load_images(folder: Path, **options: bool) -> CocoImages:
    return CocoImages(folder / "part", folder / "annotations" / "instances_part.json", **options)


def test_boxes_masks_and_labels_fit_the_pixels(coco_folder: Path) -> None:
    images = load_images(coco_folder, train=True)
    assert images.classes == ["red", "blue"]
    assert len(images) == len(SIZES)  # without the empty image
    for i, (height, width) in enumerate(SIZES):
        image, target = images[i]
        x, y, w, h = rectangle(i, height, width)
        assert image.shape == (3, height, width)
        assert target["boxes"].tolist() == [[x, y, x + w, y + h]]  # without the crowd
        assert target["labels"].tolist() == [1 if i < 2 else 2]
        inside = image[:, target["masks"][0].bool()]
        colour = torch.tensor(COLOURS[7 if i < 2 else 11]) / 255
        assert torch.allclose(inside.mean(1), colour, atol=0.02)


def test_flips_move_image_boxes_and_masks_together_and_repeat(coco_folder: Path) -> None:
    images = load_images(coco_folder, train=True, flip=True)
    plain = load_images(coco_folder, train=True)
    flipped = 0
    for draw in range(8):
        image, target = images[(draw, 0)]
        again = images[(draw, 0)]
        assert torch.equal(image, again[0])
        assert torch.equal(target["boxes"], again[1]["boxes"])
        original, where = plain[(draw, 0)]
        if not torch.equal(image, original):
            flipped += 1
            assert torch.equal(image, original.flip(-1))
            assert torch.equal(target["masks"], where["masks"].flip(-1))
            assert target["boxes"][0, 0] == 80 - where["boxes"][0, 2]
    assert 0 < flipped < 8


def test_all_images_are_evaluated(coco_folder: Path) -> None:
    data = CocoData(coco_folder, "part", "part", batch_size=2)
    batches = list(data.val_dataloader())
    assert [len(images) for images, _ in batches] == [2, 2, 1]
    assert [target["image_id"] for _, targets in batches for target in targets] == [100, 101, 102, 103, 104]
    seen = [target["image_id"] for _, targets in data.train_dataloader() for target in targets]
    assert sorted(seen) == [100, 101, 102, 103]
    assert [data.train_images.ids[i] for i in data.images_of_batch(0, 1)] == seen[2:]


def test_annotations_as_predictions_are_perfect(coco_folder: Path) -> None:
    images = load_images(coco_folder)
    metric = AveragePrecision(images.coco, images.categories)
    for i in range(len(images)):
        _, target = images[i]
        scores = torch.full((len(target["labels"]),), 0.9)
        prediction = {"boxes": target["boxes"], "labels": target["labels"], "scores": scores}
        metric.update([target["image_id"]], [prediction | {"masks": target["masks"][:, None].float()}])
    metrics = metric.compute()
    assert metrics["box_map"] == pytest.approx(1.0)
    assert metrics["mask_map"] == pytest.approx(1.0)


def test_worse_predictions_cost_precision(coco_folder: Path) -> None:
    images = load_images(coco_folder)
    metric = AveragePrecision(images.coco, images.categories)
    for i in range(len(SIZES)):
        _, target = images[i]
        labels = target["labels"] if i < 2 else 3 - target["labels"]  # the wrong class in two of four
        shifted = target["boxes"] + torch.tensor([4.0, 0, 4, 0])  # IoU 26 / 34
        metric.update([target["image_id"]], [{"boxes": shifted, "labels": labels, "scores": torch.tensor([1 - i / 8])}])
    metrics = metric.compute()
    assert metrics["box_map50"] == metrics["box_map75"] == pytest.approx(0.5)  # AP 1 for red, 0 for blue
    assert metrics["box_map"] == pytest.approx(0.5 * 6 / 10)  # thresholds 0.5 to 0.75 of 0.5 to 0.95
    assert "mask_map" not in metrics


def test_no_detections_count_as_nothing_found(coco_folder: Path) -> None:
    images = load_images(coco_folder)
    metric = AveragePrecision(images.coco, images.categories)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    metric.update([100, 101], [nothing, nothing])
    assert metric.compute()["box_map"] == 0


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="COCO's layout is DATA/SPLIT"):
        CocoData(tmp_path)


def test_broken_images_are_named(coco_folder: Path) -> None:
    broken = coco_folder / "part" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    images = load_images(coco_folder)
    assert images[0][0].isfinite().all()
    with pytest.raises(ValueError, match=r"1\.png cannot be read \(.+\): repair it, or remove it from the data set"):
        images[1]


def test_boxes_alone_are_enough_without_masks(coco_folder: Path) -> None:
    file = coco_folder / "annotations" / "instances_part.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    file.write_text(json.dumps(content))
    _, target = CocoImages(coco_folder / "part", file, train=True, masks=False)[0]
    assert len(target["boxes"]) == len(target["labels"]) > 0
    assert "masks" not in target
    with pytest.raises(ValueError, match="objects without a segmentation, which Mask R-CNN needs"):
        CocoImages(coco_folder / "part", file)
