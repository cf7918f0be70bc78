from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import pyg_vig
from pyg_vig.tasks.segmentation import (
    SegmentationConfig,
    SegmentationData,
    SegmentationImages,
    build_segmenter,
    segment,
)
from pyg_vig.tasks.segmentation.ade20k import IGNORE_INDEX, count_classes, training_transform
from tests.tasks.conftest import COLOURS, SIZES, rectangle

TINY = {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2}
NARROW = {
    "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "upernet": {"decoder_channels": 32},
}


@pytest.mark.parametrize("decoder", NARROW)
@pytest.mark.parametrize("backbone", ["pvig_ti", "vig_ti"])
def test_segmenters_take_images_of_any_size_and_learn(decoder: str, backbone: str) -> None:
    options: dict[str, Any] = TINY if backbone == "pvig_ti" else {"channels": 16, "depth": 4, "k": 2}
    model = build_segmenter(
        decoder, backbone=backbone, num_classes=5, backbone_options=options, options=NARROW[decoder]
    )
    scores = model.train()(torch.rand(2, 3, 70, 90))
    assert scores.shape == (2, 5, 70, 90)
    scores.square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without
    assert model.eval()(torch.rand(1, 3, 64, 96)).shape == (1, 5, 64, 96)


def test_padding_is_cut_off_again() -> None:
    model = build_segmenter("fpn", backbone="pvig_ti", num_classes=2, backbone_options=TINY, options=NARROW["fpn"])
    image = torch.rand(1, 3, 64, 64)
    mean = torch.full((1, 3, 64, 32), 0.5)  # normalised to zero, like the padding
    with torch.no_grad():
        padded = model.eval()(torch.cat([image, mean], 3)[..., :80])
        whole = model(torch.cat([image, mean], 3))
    assert torch.allclose(padded, whole[..., :80], atol=1e-5)


def test_weights_of_a_classifier_start_the_backbone(tmp_path: Path) -> None:
    classifier = pyg_vig.create_model("pvig_ti", num_classes=7, **TINY)
    pyg_vig.save_checkpoint(classifier, tmp_path / "model.safetensors")
    model = build_segmenter(
        "fpn", backbone="pvig_ti", num_classes=2, backbone_options=TINY, weights=str(tmp_path / "model.safetensors")
    )
    own = model.network.encoder.backbone.body.model.stem.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in classifier.stem.state_dict().items())
    assert model.config.freeze_norm


def test_registered_networks_serve_the_librarys_own_encoder() -> None:
    import segmentation_models_pytorch as smp

    from pyg_vig.integrations.timm import register

    register()
    model = smp.FPN("tu-pvig_ti", encoder_weights=None, classes=4, **TINY)
    assert model.eval()(torch.rand(1, 3, 64, 96)).shape == (1, 4, 64, 96)


def test_classes_count_from_0_and_the_unlabelled_are_ignored(ade20k_folder: Path) -> None:
    images = SegmentationImages(ade20k_folder, "part")
    assert count_classes(ade20k_folder, "part") == 3
    for i, (height, width) in enumerate(SIZES):
        image, target = images[i]
        x, y, w, h = rectangle(i, height, width)
        assert target.shape == image.shape[-2:] == (height, width)
        assert (target[0] == IGNORE_INDEX).all()
        assert (target[y : y + h, x : x + w] == (1 if i < 2 else 2)).all()
        assert (target[1:] == 0).sum() == (height - 1) * width - w * h


def test_classes_are_counted_once(ade20k_folder: Path) -> None:
    config = SegmentationConfig(data=str(ade20k_folder), train_split="part")
    assert config.resolve_defaults().num_classes == 3
    assert config.replace(num_classes=7).resolve_defaults().num_classes == 7
    assert config.replace(data="nowhere").resolve_defaults().num_classes is None  # loading the data says what is wrong


@pytest.mark.parametrize("kind", ["images", "annotations"])
def test_broken_files_are_named(ade20k_folder: Path, kind: str) -> None:
    images = SegmentationImages(ade20k_folder, "part")
    broken = getattr(images, kind)[1]
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{broken.name} cannot be read"):
        images[1]


def test_random_changes_move_image_and_classes_together(ade20k_folder: Path) -> None:
    images = SegmentationImages(ade20k_folder, "part", transform=training_transform(64, (0.5, 2.0), flip=True))
    colours = {0: (128, 128, 128), 1: COLOURS[7], 2: COLOURS[11]}
    for draw in range(6):
        image, target = images[(draw, draw % 4)]
        assert image.shape[-2:] == target.shape == (64, 64)
        assert torch.equal(target, images[(draw, draw % 4)][1])
        for label, colour in colours.items():
            if (target == label).sum() > 50:
                median = image[:, target == label].median(1).values
                assert torch.allclose(median, torch.tensor(colour) / 255, atol=0.03)


def test_images_to_evaluate_keep_their_sizes(ade20k_folder: Path) -> None:
    data = SegmentationData(ade20k_folder, "part", "part", size=32, batch_size=2)
    assert [tuple(target.shape[1:]) for _, target in data.val_dataloader()] == SIZES
    images, targets = next(iter(data.train_dataloader()))
    assert images.shape == (2, 3, 32, 32)
    assert targets.shape == (2, 32, 32)


def test_segment_scales_there_and_back() -> None:
    seen = []

    def by_brightness(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[-2:]))
        return torch.cat([1 - images[:, :1], images[:, :1]], 1)

    image = torch.zeros(1, 3, 40, 80)
    image[..., 40:] = 1
    classes = segment(by_brightness, image, size=20)  # type: ignore[arg-type]
    assert seen == [(20, 40)]
    assert torch.equal(classes, image[:, 0].long())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "unet"}, "decoder must be one of fpn, upernet, got 'unet'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"backbone_options": {"channels": (16, 32), "depths": (1, 1), "reductions": (2, 1)}}, "four feature maps"),
        ({"decoder_dropout": 0.1}, "SegmenterConfig has no field decoder_dropout"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    options = {"decoder": "fpn", "backbone": "pvig_ti", "num_classes": 2, "backbone_options": TINY} | options
    with pytest.raises(ValueError, match=message):
        build_segmenter(options.pop("decoder"), **options)


def test_images_without_annotation_are_named(ade20k_folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(ade20k_folder / "images" / "part" / "lonely.png")
    with pytest.raises(FileNotFoundError, match=r"1 images have no annotation.*lonely\.png"):
        SegmentationImages(ade20k_folder, "part")
    with pytest.raises(FileNotFoundError, match="ADE20K's layout"):
        SegmentationImages(ade20k_folder, "nowhere")
