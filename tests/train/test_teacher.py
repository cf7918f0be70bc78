from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F

import pyg_vig
from pyg_vig.models import get_config
from pyg_vig.preprocessing import evaluation_transform
from pyg_vig.train import Classification, RunConfig
from pyg_vig.train.teacher import Teacher

STUDENT = get_config("vig_nano", depth=1, distilled=True)


def test_the_second_head_learns_from_the_teacher() -> None:
    module = Classification(pyg_vig.create_model("vig_nano", depth=1, distilled=True), RunConfig())
    heads, targets, taught = torch.randn(2, 4, 10).unbind(), torch.tensor([0, 3, 9, 3]), torch.tensor([0, 3, 2, 3])
    own = F.cross_entropy(heads[0], targets, label_smoothing=0.1)
    assert torch.allclose(module.loss(heads, targets, 0.1, taught), (own + F.cross_entropy(heads[1], taught)) / 2)


def test_a_network_of_ours_as_teacher(tmp_path: Path) -> None:
    trained = pyg_vig.create_model("vig_nano", depth=1)
    pyg_vig.save_checkpoint(trained, tmp_path / "model.safetensors")
    images = torch.randn(4, 3, 32, 32)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        teacher = Teacher.open(str(path), STUDENT, 10)
        assert torch.equal(teacher(images), trained.eval()(images).argmax(1))
    module = Classification(pyg_vig.create_model("vig_nano", depth=1, distilled=True), RunConfig(), teacher)
    assert not any("teacher" in name for name in module.state_dict())
    assert deepcopy(module).teacher is teacher
    assert all(not parameter.requires_grad for parameter in teacher.model.parameters())


def test_a_teacher_from_timm_sees_pixels_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("resnet10t", num_classes=10).eval()
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: model)  # without downloading weights
    teacher = Teacher.open("resnet10t", STUDENT, 10)
    photo = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    ours = evaluation_transform(32, 3, mean=STUDENT.mean, std=STUDENT.std)(photo)
    its = evaluation_transform(32, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))(photo)
    assert torch.allclose(ours * teacher.scale + teacher.shift, its, atol=1e-6)
    assert teacher(ours[None]) == model(its[None]).argmax()


def test_teachers_that_do_not_fit(tmp_path: Path) -> None:
    pyg_vig.save_checkpoint(pyg_vig.create_model("vig_nano", depth=1), tmp_path / "model.safetensors")
    teacher = Teacher.open(str(tmp_path), STUDENT, 10)
    with pytest.raises(ValueError, match=r"add --options\.distilled true"):
        Classification(pyg_vig.create_model("vig_nano", depth=1), RunConfig(), teacher)
    with pytest.raises(ValueError, match="10 classes, but the network has 3 and 7"):
        Teacher.open(str(tmp_path), STUDENT, 7)
    with pytest.raises(ValueError, match=r"has 3 input channels .* has 1"):
        Teacher.open(str(tmp_path), get_config("vig_nano", in_channels=1), 10)
    with pytest.raises(ValueError, match="nor the name of a timm network"):
        Teacher.open("regnetz_1", STUDENT, 10)


def test_takes_images_of_any_precision() -> None:
    teacher = Teacher(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2)))
    assert teacher(torch.rand(4, 3, 1, 1, dtype=torch.float64)).shape == (4,)
