from __future__ import annotations

import pytest
import torch
from PIL import Image

from pyg_vig.train.transforms import evaluation_transform, training_transform

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


def test_evaluation_keeps_the_centre() -> None:
    image = torch.zeros(1, 40, 40, dtype=torch.uint8)
    image[:, 10:30, 10:30] = 255
    assert evaluation_transform(20, 1, crop=0.5)(image)[:, 2:-2, 2:-2].min() > 0.99
    assert evaluation_transform(20, 1)(image)[:, :3].max() < -0.9


def test_random_changes_change_images() -> None:
    photo = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    for augment in ("affine", "crop", "resized_crop"):
        transform = training_transform(augment, 32, 3)
        assert not torch.equal(transform(photo), transform(photo))
    transform = training_transform("none", 32, 3)
    assert torch.equal(transform(photo), transform(photo))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"augment must be one of affine, .* got 'flip'"):
        training_transform("flip", 32, 3)
    with pytest.raises(ValueError, match="in_channels=4"):
        evaluation_transform(32, 4)
