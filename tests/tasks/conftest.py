"""A few synthetic images in COCO's format and in ADE20K's layout: coloured rectangles on grey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {7: (220, 40, 40), 11: (40, 80, 220)}  # by COCO's category id
SIZES = [(64, 80), (80, 64), (72, 72), (64, 96)]  # height and width


def rectangle(index: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return left, top, width and height: on the left in even images, on the right in odd ones."""
    return (4 if index % 2 == 0 else width - 34), height // 4, 30, height // 2


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    """Write four images with one rectangle each, the first also with a crowd, and one image without."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": 11, "name": "blue"}, {"id": 7, "name": "red"}]
    folder = tmp_path / "coco"
    (folder / "part").mkdir(parents=True)
    for i, (height, width) in enumerate([*SIZES, (64, 64)]):
        pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        content["images"].append({"id": 100 + i, "file_name": f"{i}.png", "height": height, "width": width})
        if i < len(SIZES):
            category = 7 if i < 2 else 11
            x, y, w, h = rectangle(i, height, width)
            pixels[y : y + h, x : x + w] = COLOURS[category]
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            content["annotations"].append(annotation(i + 1, 100 + i, category, [x, y, w, h], [outline]))
        Image.fromarray(pixels).save(folder / "part" / f"{i}.png")
    runs = {"size": [64, 80], "counts": [0, 64 * 5, 64 * 75]}
    content["annotations"].append(annotation(9, 100, 7, [0, 0, 5, 64], runs, iscrowd=1))
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_part.json").write_text(json.dumps(content))
    return folder


def annotation(number: int, image: int, category: int, box: list[int], segmentation: Any, iscrowd: int = 0) -> Any:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "segmentation": segmentation,
        "iscrowd": iscrowd,
    }


@pytest.fixture
def ade20k_folder(tmp_path: Path) -> Path:
    """Write the same images with classes 1 (background), 2 and 3, and an unlabelled row at the top."""
    folder = tmp_path / "ade20k"
    for part in ("images", "annotations"):
        (folder / part / "part").mkdir(parents=True)
    for i, (height, width) in enumerate(SIZES):
        pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        classes = np.ones((height, width), dtype=np.uint8)
        x, y, w, h = rectangle(i, height, width)
        pixels[y : y + h, x : x + w] = COLOURS[7 if i < 2 else 11]
        classes[y : y + h, x : x + w] = 2 if i < 2 else 3
        classes[0] = 0
        Image.fromarray(pixels).save(folder / "images" / "part" / f"{i}.png")
        Image.fromarray(classes).save(folder / "annotations" / "part" / f"{i}.png")
    return folder
