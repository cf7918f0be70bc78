from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.overfit import SPLIT, lay_out
from pyg_vig.tasks.segmentation import SegmentationImages
from pyg_vig.tasks.segmentation.ade20k import count_classes


def test_semantic_masks_are_numbered_by_the_classes_that_occur(tmp_path: Path) -> None:
    for part in (SPLIT, f"semantic/{SPLIT}"):
        (tmp_path / "coco" / part).mkdir(parents=True)
    for name, values in (("a", [[0, 92], [1, 1]]), ("b", [[200, 1], [0, 0]])):
        Image.new("RGB", (2, 2)).save(tmp_path / "coco" / SPLIT / f"{name}.jpg")
        mask = Image.fromarray(np.array(values, dtype=np.uint8))
        mask.save(tmp_path / "coco" / "semantic" / SPLIT / f"{name}.png")
    folder = lay_out(tmp_path / "coco", tmp_path / "laid_out")
    assert count_classes(folder, SPLIT) == 3
    images = SegmentationImages(folder, SPLIT)
    assert [images[i][1].tolist() for i in range(2)] == [[[255, 1], [0, 0]], [[2, 0], [255, 255]]]
