from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from pyg_vig.models import get_config
from pyg_vig.preprocessing import evaluation_transform, normalize_for


def test_evaluation_keeps_the_centre() -> None:
    image = torch.zeros(1, 40, 40, dtype=torch.uint8)
    image[:, 10:30, 10:30] = 255
    assert evaluation_transform(20, 1, crop=0.5)(image)[:, 2:-2, 2:-2].min() > 0.99
    assert evaluation_transform(20, 1)(image)[:, :3].max() < -0.9


def test_pixels_are_normalised_by_the_network_s_constants() -> None:
    model = get_config("mobilevig_ti")
    image = evaluation_transform(8, 3, mean=model.mean, std=model.std)(torch.full((3, 8, 8), 255, dtype=torch.uint8))
    assert torch.allclose(image[:, 0, 0], torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]))
    assert get_config("pvig_s").mean == get_config("vig_ti").std == (0.5, 0.5, 0.5)


def test_sixteen_bits_become_eight() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    deep = Image.fromarray(pixels[0].numpy().astype(np.uint16) * 257)
    transform = evaluation_transform(8, 1)
    torch.testing.assert_close(transform(deep), transform(pixels), atol=0.01, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_photos_are_turned_as_the_camera_was_held(mode: str, tmp_path: Path) -> None:
    photo, exif = Image.new(mode, (40, 20)), Image.Exif()
    photo.paste("white", (0, 0, 20, 20))  # left half
    exif[ExifTags.Base.Orientation] = 6  # rotates the left side to the top
    photo.save(tmp_path / "photo.png", exif=exif)
    image = evaluation_transform(20, 3)(Image.open(tmp_path / "photo.png"))
    assert image[:, :8].min() > 0.9 and image[:, -8:].max() < -0.9


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an image \(C, H, W\) of 1 or 3 channels, got shape \(4, 8, 8\)"):
        evaluation_transform(8, 3)(torch.zeros(4, 8, 8, dtype=torch.uint8))


def test_errors() -> None:
    with pytest.raises(ValueError, match="in_channels=4"):
        evaluation_transform(32, 4)


def test_looking_at_a_photo_needs_nothing_of_training() -> None:
    code = """if True:
        import sys
        from PIL import ExifTags, Image
        import pyg_vig
        from pyg_vig.explore import explore
        from pyg_vig.tasks.predict import Predictor
        explore(pyg_vig.create_model("vig_nano", depth=1), Image.new("RGB", (40, 30)))
        print(*sorted({name.split(".")[0] for name in sys.modules}))
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "torchvision" in loaded
    assert not loaded & {"lightning", "torchmetrics", "jsonargparse"}


def test_pixels_of_any_unsigned_type_are_scaled() -> None:
    normalize = normalize_for(3, (0.0,) * 3, (1.0,) * 3)
    for dtype in (torch.uint8, torch.uint16):
        white = torch.full((3, 2, 2), torch.iinfo(dtype).max).to(dtype)
        assert torch.equal(normalize(white), torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match=r"of uint8, uint16 or in floating point, got torch\.int64"):
        normalize(torch.ones(3, 2, 2, dtype=torch.int64))
