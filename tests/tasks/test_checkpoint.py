from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pyg_vig
from pyg_vig.tasks import load_model, read_config, save_model
from pyg_vig.tasks.detection import build_detector

TINY: dict[str, Any] = {
    "backbone": "mobilevig_ti",
    "backbone_options": {"channels": (16, 32, 48, 64), "depths": ((1, 0), (1, 0), (1, 0), (0, 1))},
    "num_classes": 2,
    "classes": ["cat", "dog"],
    "channels": 16,
    "head_channels": 32,
    "options": {"min_size": 64, "max_size": 96},
}


def test_a_detector_comes_back_with_its_outputs_and_names(tmp_path: Path) -> None:
    model = build_detector("mask_rcnn", **TINY).eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[1:] += 4  # so that there are detections
    path = tmp_path / "model.safetensors"
    save_model(model, path)
    loaded = load_model(path)
    image = torch.rand(3, 60, 80)
    mine, theirs = model([image])[0], loaded([image])[0]
    assert len(mine["boxes"])
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert list(loaded.config.classes) == ["cat", "dog"]
    assert read_config(path)["detector"] == "mask_rcnn"


def test_any_network_comes_back_from_its_file_or_folder(tmp_path: Path) -> None:
    model = pyg_vig.create_model("vig_nano", depth=1)
    save_model(model, tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_model(path)
        assert type(loaded) is type(model)
        assert not loaded.training
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    model = build_detector("retinanet", **TINY)
    save_model(model, path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with torch.no_grad():
        model.head.classification_head.cls_logits.bias += 1
    with pytest.raises(OSError, match="disk full"):
        save_model(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_another_kind_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_model(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"is not a valid \.safetensors file"):
        load_model(path)
    save_model(build_detector("retinanet", **TINY), path)
    with pytest.raises(
        ValueError, match=r"contains a DetectorConfig: load detectors and segmenters with pyg_vig\.tasks"
    ):
        pyg_vig.load_model(path)


def test_parts_that_have_no_name_cannot_be_saved(tmp_path: Path) -> None:
    from torch_geometric.nn import SAGEConv

    options = TINY["backbone_options"] | {"conv": SAGEConv}
    model = build_detector("retinanet", **TINY | {"backbone_options": options})
    with pytest.raises(ValueError, match="cannot be written to a file"):
        save_model(model, tmp_path / "model.safetensors")
