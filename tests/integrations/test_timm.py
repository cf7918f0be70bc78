from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import nn

import pyg_vig
from pyg_vig.integrations.timm import register

TINY = {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2}
HYBRID = {"channels": (16, 32, 48, 64), "depths": ((1, 0), (1, 0), (1, 0), (0, 1))}


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    assert register() == register() == pyg_vig.list_models()


@pytest.mark.parametrize("name", pyg_vig.list_models())
def test_every_network_is_known_to_timm(name: str) -> None:
    assert timm.is_model(name)
    assert name in timm.list_models(f"{name}*")
    assert not timm.is_model_pretrained(name)
    config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    ours = pyg_vig.models.get_config(name)
    assert config["input_size"] == (3, ours.image_size, ours.image_size)
    assert (config["mean"], config["std"]) == (ours.mean, ours.std)
    assert config["interpolation"] == "bicubic"


def test_created_networks_are_ours() -> None:
    model = timm.create_model("pvig_ti", num_classes=5, in_chans=1, drop_path_rate=0.2, drop_rate=0.1, **TINY).eval()
    assert isinstance(model, pyg_vig.models.VisionGNN)
    assert (model.config.in_channels, model.config.drop_path_rate, model.config.drop_rate) == (1, 0.2, 0.1)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 5)
    assert model.num_classes == model.get_classifier().out_features == 5
    assert model.default_cfg["num_classes"] == 1000
    for name in model.default_cfg["classifier"], model.default_cfg["first_conv"]:
        assert isinstance(model.get_submodule(name), nn.Linear | nn.Conv2d)


def test_feature_maps_are_described_as_timm_describes_them() -> None:
    model = timm.create_model("pvig_ti", features_only=True, out_indices=(1, 3), **TINY).eval()
    assert model.feature_info.channels() == [32, 64]
    assert model.feature_info.reduction() == [8, 32]
    assert [tuple(x.shape) for x in model(torch.rand(1, 3, 64, 96))] == [(1, 32, 8, 12), (1, 64, 2, 3)]
    assert model.default_cfg["mean"] == (0.5, 0.5, 0.5)
    last = timm.create_model("pvig_ti", features_only=True, out_indices=(-1,), **TINY)
    assert last.feature_info.channels() == [64]


def test_intermediates_come_as_from_timms_own_networks() -> None:
    ours, theirs = timm.create_model("pvig_ti", **TINY).eval(), timm.create_model("resnet10t").eval()
    images = torch.rand(1, 3, 64, 64)
    for options in ({"indices": 2}, {"indices": (0, -1), "norm": False, "stop_early": True, "output_fmt": "NCHW"}):
        for model in (ours, theirs):
            last, maps = model.forward_intermediates(images, **options)
            assert torch.equal(last, maps[-1]) and len(maps) == 2
            alone = model.forward_intermediates(images, intermediates_only=True, **options)
            assert all(torch.equal(x, y) for x, y in zip(alone, maps, strict=True))


def test_classifiers_are_reset() -> None:
    model = timm.create_model("pvig_ti", num_classes=5, **TINY).eval()
    model.reset_classifier(3)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    model.reset_classifier(2, "avg")
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    model.reset_classifier(0)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, model.head_hidden_size)
    assert timm.create_model("pvig_ti", num_classes=0, **TINY).eval()(torch.rand(1, 3, 64, 64)).shape == (1, 1024)


def test_hybrids_train_with_a_plain_loss_and_distil_when_asked() -> None:
    """timm's training script expects one tensor; two classifiers return a pair after set_distilled_training(True)."""
    model = timm.create_model("mobilevig_ti", num_classes=4, **HYBRID).train()
    images = torch.rand(2, 3, 64, 64)
    scores = model(images)
    assert isinstance(scores, torch.Tensor)
    scores.square().mean().backward()
    assert model.head.distillation_classifier.weight.grad is not None
    model.set_distilled_training(True)
    assert len(model(images)) == 2


def test_a_training_step_with_timms_parts() -> None:
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    model = timm.create_model("pvig_ti", num_classes=4, **TINY).train()
    model.set_grad_checkpointing(True)
    average = ModelEmaV3(model, decay=0.9)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-2, weight_decay=0.05, layer_decay=0.8)
    images, targets = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=4)(torch.rand(2, 3, 64, 64), torch.arange(2))
    loss = SoftTargetCrossEntropy()(model(images), targets)
    loss.backward()
    optimizer.step()
    average.update(model)
    assert torch.isfinite(average.module.eval()(images)).all()


@pytest.mark.parametrize("classes", [5, 3])
def test_checkpoints_are_loaded_by_timm(classes: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    trained = pyg_vig.create_model("pvig_ti", num_classes=5, **TINY)
    pyg_vig.save_checkpoint(trained, path)
    overlay = {"file": str(path), "num_classes": 5}
    options = {"pretrained_cfg_overlay": overlay, "num_classes": classes, **TINY}
    model = timm.create_model("pvig_ti", pretrained=True, **options)
    assert torch.equal(
        model.stages[2].downsample.conv_norm.conv.weight, trained.stages[2].downsample.conv_norm.conv.weight
    )
    same = model.get_classifier().weight.shape == trained.get_classifier().weight.shape
    assert same == (classes == 5)
    if same:
        assert torch.equal(model.get_classifier().weight, trained.get_classifier().weight)
        direct = timm.create_model("pvig_ti", checkpoint_path=str(path), num_classes=5, **TINY)
        assert torch.equal(direct.get_classifier().weight, trained.get_classifier().weight)


def test_transforms_follow_the_network() -> None:
    model = timm.create_model("mobilevig_ti", num_classes=4, **HYBRID)
    transform = create_transform(**resolve_data_config({}, model=model))
    assert "mean=tensor([0.4850, 0.4560, 0.4060])" in repr(transform)


def test_a_mistake_is_told() -> None:
    for pool in ("max", ""):
        with pytest.raises(ValueError, match=f"supports only global_pool='avg', the mean over the nodes, got {pool!r}"):
            timm.create_model("pvig_ti", global_pool=pool, **TINY)


def test_scripts_run_with_the_networks_registered(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, timm\nprint(sys.argv[1:], timm.is_model('attention_vig_s'))\n")
    command = [sys.executable, "-W", "ignore", "-m", "pyg_vig.integrations.timm", str(script), "--model", "pvig_ti"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['--model', 'pvig_ti'] True"
