from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyg_vig
from pyg_vig.tasks.detection import build_detector, count_parts

TINY: dict[str, Any] = {
    "backbone": "pvig_ti",
    "backbone_options": {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2},
    "channels": 16,
    "head_channels": 32,
    "anchor_size": 8,
    "options": {"min_size": 64, "max_size": 128},
}


def target(masks: bool, height: int, width: int) -> dict[str, Tensor]:
    boxes = torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 50]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 3])}
    if masks:
        found["masks"] = torch.zeros(2, height, width, dtype=torch.uint8)
        found["masks"][:, 10:40, 5:30] = 1
    return found


@pytest.mark.parametrize("detector", ["retinanet", "mask_rcnn"])
def test_detectors_learn_from_and_predict_images_of_any_size(detector: str) -> None:
    model = build_detector(detector, num_classes=3, **TINY)
    images = [torch.rand(3, 61, 97), torch.rand(3, 120, 75)]
    targets = [target(detector == "mask_rcnn", *image.shape[-2:]) for image in images]
    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.backbone.parameters())
    predictions = model.eval()(images)
    assert [sorted(p) for p in predictions] == [sorted({"boxes", "labels", "scores", *targets[0]})] * 2
    for image, prediction in zip(images, predictions, strict=True):
        if detector == "mask_rcnn":
            assert prediction["masks"].shape[-2:] == image.shape[-2:]
        assert (prediction["boxes"][:, 2] <= image.shape[-1]).all()


def test_images_are_padded_to_the_largest_of_the_batch_and_multiples_of_32() -> None:
    model = build_detector("mask_rcnn", num_classes=3, **TINY).eval()
    sizes = []
    hook = model.backbone.register_forward_pre_hook(lambda module, args: sizes.append(tuple(args[0].shape)))
    model([torch.rand(3, 61, 97)])
    model([torch.rand(3, 61, 97), torch.rand(3, 97, 61)])
    hook.remove()
    assert sizes == [(1, 3, 64, 128), (2, 3, 128, 128)]


def test_images_are_normalised_as_the_backbone_wants_it() -> None:
    assert build_detector("retinanet", num_classes=1, **TINY).transform.image_mean == [0.5, 0.5, 0.5]
    hybrid = {"backbone": "mobilevig_ti", "backbone_options": {}}
    model = build_detector("retinanet", num_classes=1, **TINY | hybrid)
    assert model.transform.image_mean == [0.485, 0.456, 0.406]


def test_weights_of_a_classifier_start_the_backbone_and_freeze_its_norms(tmp_path: Path) -> None:
    classifier = pyg_vig.create_model("pvig_ti", num_classes=7, **TINY["backbone_options"])
    pyg_vig.save_checkpoint(classifier, tmp_path / "model.safetensors")
    path = str(tmp_path / "model.safetensors")
    model = build_detector("mask_rcnn", num_classes=3, weights=path, **TINY)
    body = model.backbone.pyramid.body.model
    assert torch.equal(
        body.stages[3].downsample.conv_norm.conv.weight, classifier.stages[3].downsample.conv_norm.conv.weight
    )
    norms = [module for module in model.train().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    live = build_detector("mask_rcnn", num_classes=3, weights=path, freeze_norm=False, **TINY)
    assert not live.config.freeze_norm


@pytest.mark.parametrize(
    ("detector", "parameters", "flops"),
    [("retinanet", 36.2, 240.0), ("mask_rcnn", 45.8, 258.8)],  # arXiv 2206.00272, table 10
)
def test_pyramid_vig_s_has_the_published_size(detector: str, parameters: float, flops: float) -> None:
    parts = count_parts(build_detector(detector, backbone="pvig_s", num_classes=80))
    search = parts.pop("neighbour search")  # not seen by counters that hook into layers, such as the paper's
    assert sum(part.parameters for part in parts.values()) / 1e6 == pytest.approx(parameters, rel=2e-3)
    assert sum(part.macs for part in parts.values()) / 1e9 == pytest.approx(flops, rel=2e-3)
    places = [64000, 16000, 4000, 1000]  # patches by stage at 1280 x 800 pixels; candidates are pooled to 4000
    blocks, channels = [2, 2, 6, 2], [80, 160, 400, 640]
    distances = sum(n * min(n, 4000) * c * b for n, c, b in zip(places, channels, blocks, strict=True))
    assert search.macs == distances == 101_120_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "yolo"}, "detector must be one of retinanet, mask_rcnn, got 'yolo'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"backbone": "resnet50"}, "unknown model 'resnet50'"),
        ({"min_size": 64}, "DetectorConfig has no field min_size: pass arguments of torchvision"),
        ({"options": {"min_sise": 64}}, "MaskRCNN has no option min_sise: choose among .*min_size"),
        ({"classes": ["a", "b"]}, "one name for each of 3 classes, got 2 names"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    options = {"detector": "mask_rcnn", "num_classes": 3} | TINY | options
    with pytest.raises(ValueError, match=message):
        build_detector(options.pop("detector"), **options)
