from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pyg_vig.transforms.photo import open_photo, to_upright_rgb


def test_photos_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera rotated by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg", exif=exif)
    assert open_photo(tmp_path / "photo.jpg").size == (30, 40)


def test_sixteen_bits_become_eight(tmp_path):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 257).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(open_photo(tmp_path / "deep.png"))[..., 0], grey)


def test_what_is_no_photo(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes.txt is not an image"):
        open_photo(tmp_path / "notes.txt")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"photo.png is too large"):
        open_photo(tmp_path / "photo.png")


def test_damaged_photos_are_told_by_name(tmp_path):
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "part.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"part.jpg is damaged: .*truncated"):
        open_photo(tmp_path / "part.jpg")


def test_pixels_in_floating_point_do_not_tell_what_is_white():
    with pytest.raises(ValueError, match="mode F"):
        to_upright_rgb(Image.new("F", (4, 4), 0.5))
