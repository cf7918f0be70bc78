from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from benchmarks import overfit
from benchmarks.overfit import SPLIT, convert_to_ade20k
from pyg_vig.tasks.segmentation import SegmentationImages
from pyg_vig.tasks.segmentation.ade20k import count_classes


def test_semantic_masks_are_numbered_by_the_classes_that_occur(tmp_path: Path) -> None:
    for part in (SPLIT, f"semantic/{SPLIT}"):
        (tmp_path / "coco" / part).mkdir(parents=True)
    for name, values in (("a", [[0, 92], [1, 1]]), ("b", [[200, 1], [0, 0]])):
        Image.new("RGB", (2, 2)).save(tmp_path / "coco" / SPLIT / f"{name}.jpg")
        mask = Image.fromarray(np.array(values, dtype=np.uint8))
        mask.save(tmp_path / "coco" / "semantic" / SPLIT / f"{name}.png")
    folder = convert_to_ade20k(tmp_path / "coco", tmp_path / "ade20k")
    assert count_classes(folder, SPLIT) == 3
    images = SegmentationImages(folder, SPLIT)
    assert [images[i][1].tolist() for i in range(2)] == [[[255, 1], [0, 0]], [[2, 0], [255, 255]]]


def test_figures_and_curves_are_kept_and_say_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, results = tmp_path / "run", tmp_path / "results"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,seconds\n0,1.4\n1,1.2\n")
    (folder / "curves.png").write_bytes(b"a picture")
    data = SimpleNamespace(val_images=[None] * 3)
    run = SimpleNamespace(folder=folder, module=nn.Linear(2, 3), data=data, fit=lambda: {"val_miou": 0.5})
    monkeypatch.setattr(overfit, "start_segmentation", lambda *_: run)
    overfit.main(["segmentation", "--data", str(tmp_path), "--results", str(results), "--epochs", "2"])
    kept = json.loads((results / "overfit_segmentation.json").read_text())
    assert kept["settings"] == {"task": "segmentation", "epochs": 2, "lr": 1e-3, "size": 224, "picture": None}
    assert (kept["images"], kept["parameters"], kept["seconds"]) == (3, 9, 3)
    assert kept["figures"] == {"val_miou": 0.5}
    assert "commit" in kept and "torch" in kept["versions"]
    assert (results / "overfit_segmentation.png").read_bytes() == b"a picture"
