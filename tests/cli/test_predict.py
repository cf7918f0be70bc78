from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

import pyg_vig
from pyg_vig.cli import main
from pyg_vig.tasks import save_model
from pyg_vig.tasks.detection import build_detector
from pyg_vig.tasks.drawing import draw_classes, draw_detections, palette
from pyg_vig.tasks.segmentation import build_segmenter

TINY: dict[str, Any] = {"backbone": "pvig_ti", "num_classes": 2, "classes": ["cat", "dog"]}
TINY["backbone_options"] = {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2}


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 60), (30, 90, 200)).save("photo.jpg")


def test_a_classifier_names_five_classes(capsys: pytest.CaptureFixture[str]) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), "model.safetensors")
    main(["predict", "model.safetensors", "photo.jpg"])
    printed = capsys.readouterr().out
    assert printed.startswith("photo.jpg: class ")
    assert printed.count("%") == 5
    assert sorted(file.name for file in Path().iterdir()) == ["model.safetensors", "photo.jpg"]


def test_a_detector_draws_boxes_and_masks(capsys: pytest.CaptureFixture[str]) -> None:
    model = build_detector("mask_rcnn", channels=16, options={"min_size": 64, "max_size": 96}, **TINY)
    with torch.no_grad():  # predict a dog everywhere, with high confidence
        model.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 0, 20]))
    save_model(model, "model.safetensors")
    main(["predict", "model.safetensors", "photo.jpg", "-o", "pictures"])
    assert " x dog" in capsys.readouterr().out
    drawn = pil_to_tensor(Image.open("pictures/photo_predicted.png"))
    assert drawn.shape == (3, 60, 90)
    assert len(drawn.flatten(1).unique(dim=1)[0]) > 2


def test_a_segmenter_draws_its_class_map(capsys: pytest.CaptureFixture[str]) -> None:
    model = build_segmenter("fpn", **TINY)
    with torch.no_grad():
        model.network.segmentation_head[0].bias.copy_(torch.tensor([0.0, 50]))
    save_model(model, "model.safetensors")
    main(["predict", "model.safetensors", "photo.jpg", "--size", "32"])
    assert "dog 100.0%" in capsys.readouterr().out
    pixel = pil_to_tensor(Image.open("photo_predicted.png"))[:, 30, 45].tolist()
    colour = palette(2)[1]
    expected = [(a + b) / 2 for a, b in zip((30, 90, 200), colour, strict=True)]
    assert pixel == pytest.approx(expected, abs=4)  # JPEG compression


def test_a_damaged_image_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), "model.safetensors")
    Path("part.jpg").write_bytes(Path("photo.jpg").read_bytes()[:-200])
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "model.safetensors", "part.jpg", "photo.jpg"])
    printed = capsys.readouterr()
    assert printed.out.startswith("photo.jpg: class ")
    assert printed.err.startswith("pyg-vig predict: part.jpg is damaged")


def test_unsure_detections_are_left_out() -> None:
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    boxes = torch.tensor([[2.0, 2, 12, 12], [20, 20, 38, 38]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.4, 0.9])}
    drawn = draw_detections(image, found, ["cat", "dog"])
    assert drawn[:, :15, :15].sum() == 0
    assert drawn[:, 19:39, 19:39].sum() > 0
    assert torch.equal(draw_detections(image, found, threshold=0.95), image)


def test_unlabelled_pixels_stay_bare() -> None:
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    classes = torch.full((4, 4), 255)
    assert torch.equal(draw_classes(image, classes), image)
    classes[0] = 1
    drawn = draw_classes(image, classes)
    assert torch.equal(drawn[:, 1:], image[:, 1:])
    assert not torch.equal(drawn[:, 0], image[:, 0])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("predict nowhere.safetensors photo.jpg", "pyg-vig predict: no checkpoint at nowhere.safetensors"),
        ("predict model.safetensors nowhere.jpg", "pyg-vig predict: no image file at nowhere.jpg"),
        ("predict photo.jpg photo.jpg", "pyg-vig predict: photo.jpg is not a valid .safetensors file"),
        ("predict model.safetensors text.jpg", "pyg-vig predict: text.jpg is not an image in a supported format"),
    ],
)
def test_mistakes_become_one_clear_line(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), "model.safetensors")
    Path("text.jpg").write_text("not an image")
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_classes_have_the_names_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    model = pyg_vig.create_model("vig_nano", depth=1, num_classes=2, classes=["cat", "dog"])
    pyg_vig.save_checkpoint(model, "model.safetensors")
    main(["predict", "model.safetensors", "photo.jpg"])
    printed = capsys.readouterr().out
    assert "cat " in printed and "dog " in printed


def test_one_broken_image_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), "model.safetensors")
    Path("broken.jpg").write_text("no image")
    with pytest.raises(SystemExit):
        main(["predict", "model.safetensors", "broken.jpg", "photo.jpg"])
    printed = capsys.readouterr()
    assert "broken.jpg is not an image" in printed.err
    assert "photo.jpg: class" in printed.out


def test_pictures_that_would_have_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), "model.safetensors")
    Path("other").mkdir()
    Image.new("RGB", (90, 60)).save("other/photo.jpg")
    with pytest.raises(SystemExit):
        main(["predict", "model.safetensors", "photo.jpg", "other/photo.jpg"])
    assert "would have the same name" in capsys.readouterr().err
