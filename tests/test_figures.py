"""The scripts for the figures of the documentation: their training data, and a figure that needs no weights."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import pyg_vig

for needed in ("matplotlib", "skimage", "torchvision"):
    pytest.importorskip(needed)

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def photo_network(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("photo_network")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Write two photographs, half sky and half road."""
    from PIL import Image

    categories = [{"id": 187, "supercategory": "sky"}, {"id": 149, "supercategory": "ground"}]
    for folder in ("annotations", "train2017", "semantic/train2017"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "annotations" / "panoptic_train2017.json").write_text(json.dumps({"categories": categories}))
    mask = np.zeros((240, 300), np.uint8)
    mask[:100], mask[140:] = 187, 149
    for name in ("a", "b"):
        picture = np.random.default_rng(0).integers(0, 255, (240, 300, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "train2017" / f"{name}.jpg")
        Image.fromarray(mask).save(tmp_path / "semantic" / "train2017" / f"{name}.png")
    return tmp_path


def test_patches_are_labelled_with_supercategories(photo_network: ModuleType, coco: Path) -> None:
    photos = photo_network.LabeledPhotos(coco, "train2017")
    assert photos.classes == ["ground", "sky"]
    image, mask = photo_network.evaluation_transform()(*photos[1])
    labels = photo_network.label_patches(mask)
    assert (image.shape, labels.shape) == ((3, 224, 224), (14, 14))
    assert labels[:5].unique().tolist() == [1]
    assert labels[6:8].unique().tolist() == [-1]  # unlabelled
    assert labels[9:].unique().tolist() == [0]


def test_a_step_of_training_moves_the_network(photo_network: ModuleType, coco: Path) -> None:
    photos = photo_network.LabeledPhotos(coco, "train2017")
    model = pyg_vig.create_model("vig_ti", channels=16, depth=1, num_classes=2, head_channels=16)
    before = model.get_classifier().weight.clone()
    photo_network.train(model, photos, size=2, steps=2)
    assert not torch.equal(before, model.get_classifier().weight)
    assert 0 <= photo_network.accuracy(model, photos) <= 1


def test_superpixels_of_four_photographs(photo_network: ModuleType, tmp_path: Path) -> None:
    figures = importlib.import_module("figures")
    drawn = figures.superpixels(figures.Sources(None, None))
    assert len(drawn.axes) == len(figures.PHOTOS)
    figures.save(drawn, tmp_path / "superpixels.png")
    assert (tmp_path / "superpixels.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "message"), [("hubs", "hubs needs --data and --weights"), ("hub", "hub is no figure: choose .*hubs")]
)
def test_figures_that_cannot_be_drawn_are_refused(
    photo_network: ModuleType,
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = importlib.import_module("figures")
    monkeypatch.setattr("sys.argv", ["figures.py", "superpixels", name])
    with pytest.raises(SystemExit):
        figures.main()
    assert re.search(message, capsys.readouterr().err)
