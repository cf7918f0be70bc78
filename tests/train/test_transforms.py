from __future__ import annotations

import random

import pytest
import torch
from PIL import Image

from pyg_vig.preprocessing import evaluation_transform
from pyg_vig.train.transforms import PaddedCrop, training_transform

IMAGES = {
    "photo": Image.new("RGB", (50, 40), (255, 0, 0)),
    "grey photo": Image.new("L", (30, 60), 255),
    "tensor": torch.full((1, 8, 8), 255, dtype=torch.uint8),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", ["affine", "crop", "resized_crop", "none", None])
def test_any_image_becomes_a_normalised_square(kind: str, channels: int, augment: str | None) -> None:
    transform = evaluation_transform(32, channels) if augment is None else training_transform(augment, 32, channels)
    image = transform(IMAGES[kind])
    assert type(image) is torch.Tensor
    assert image.shape == (channels, 32, 32)
    assert image.dtype == torch.float32
    assert -1 <= image.min() <= image.max() <= 1


def test_random_changes_change_images() -> None:
    photo = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    for augment in ("affine", "crop", "resized_crop"):
        transform = training_transform(augment, 32, 3)
        assert not torch.equal(transform(photo), transform(photo))
    transform = training_transform("none", 32, 3)
    assert torch.equal(transform(photo), transform(photo))


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_and_erasing(channels: int) -> None:
    photo = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    plain = training_transform("none", 32, channels)(photo)
    policy = training_transform("none", 32, channels, rand_augment="rand-m9-mstd0.5-inc1")
    random.seed(0)
    assert any(not torch.equal(policy(photo), plain) for _ in range(4))
    assert policy(photo).shape == (channels, 32, 32)
    erased = training_transform("none", 32, channels, erase=1.0)(photo)
    changed = (erased != plain).any(0)
    assert 0.01 < changed.float().mean() < 0.4


def test_padded_crops_shift_and_mirror() -> None:
    photo = torch.randint(1, 255, (1, 16, 16), dtype=torch.uint8)
    shifts = set()
    for _ in range(40):
        image = PaddedCrop(16)(photo)
        inside = image[:, 2:-2, 2:-2]
        found = [
            (dy, dx, mirror)
            for dy in range(5)
            for dx in range(5)
            for mirror, source in enumerate((photo, photo.flip(2)))
            if torch.equal(source[:, dy : dy + 12, dx : dx + 12], inside)
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 15
    assert {mirror for _, _, mirror in shifts} == {0, 1}


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"augment must be one of affine, .* got 'flip'"):
        training_transform("flip", 32, 3)
