from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import nn

import pyg_vig
from pyg_vig.cli import main
from pyg_vig.explore import explore
from pyg_vig.explore.picture import data_url
from tests.explore.networks import make_image, network


@pytest.mark.parametrize("name", ["vig_ti", "pvig_ti"])
def test_a_photo_and_twelve_blocks_stay_under_three_megabytes(name, tmp_path):
    page = explore(pyg_vig.create_model(name), Image.fromarray(astronaut()))
    path = page.save(tmp_path / "explorer.html")
    assert path.stat().st_size < 3_000_000
    assert page.html.count('"pointers"') == 12


def test_everything_is_inside():
    html = explore(network("isotropic"), make_image("isotropic")).html
    assert "{title}" not in html and "{picture}" not in html
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert "default-src 'none'" in html
    assert set(re.findall(r"https?://[\w./]+", html)) <= {"http://www.w3.org/2000/svg"}  # an XML namespace, not a link


def test_words_of_the_user_stay_words():
    html = explore(network("isotropic"), make_image("isotropic"), title="a <b> & {caption}", caption="</script>").html
    assert "<title>a &lt;b&gt; &amp; {caption}</title>" in html
    assert "&lt;/script&gt;" in html


def test_notebooks_get_the_page_in_a_frame():
    page = explore(network("isotropic"), make_image("isotropic"))
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" [^>]*></iframe>', page._repr_html_())
    assert frame and unescape(frame[1]) == page.html
    assert len(repr(page)) < 100


def test_saving_replaces_the_file_or_leaves_it(tmp_path: Path):
    page = explore(network("isotropic"), make_image("isotropic"))
    path = tmp_path / "explorer.html"
    path.write_text("old")
    assert page.save(str(path)) == path
    assert path.read_text(encoding="utf-8") == page.html
    with pytest.raises(FileNotFoundError):
        page.save(tmp_path / "nowhere" / "explorer.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["explorer.html"]


def test_the_same_photo_as_file_image_and_tensor_gives_the_same_graphs(tmp_path: Path):
    model, photo = network("isotropic"), Image.fromarray(astronaut()).resize((32, 32))
    photo.save(tmp_path / "photo.png")
    pixels = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).view(32, 32, 3).permute(2, 0, 1) / 255
    pages = [explore(model, image).html for image in (photo, tmp_path / "photo.png", 2 * pixels - 1)]
    assert len({re.search(r'type="application/json">(.*?)</script>', html)[1] for html in pages}) == 1
    assert len({re.search(r'<img[^>]*src="([^"]*)"', html)[1] for html in pages}) == 1


def test_photos_are_normalised_as_the_weights_expect(monkeypatch: pytest.MonkeyPatch):
    """The hybrids use ImageNet's mean, the others 0.5."""
    model, seen = network("svga"), []
    model.register_forward_pre_hook(lambda model, args: seen.append(args[0]))
    grey = Image.new("RGB", (40, 40), (128, 128, 128))
    explore(model, grey, size=128)
    expected = (128 / 255 - torch.tensor(model.config.mean)) / torch.tensor(model.config.std)
    torch.testing.assert_close(seen[0][0, :, 64, 64], expected, rtol=1e-3, atol=1e-3)
    assert model.config.mean != (0.5, 0.5, 0.5)


def test_one_channel_is_shown_as_ink_on_paper():
    model = pyg_vig.create_model("vig_nano", in_channels=1, depth=1)
    assert "data:image/png" in explore(model, torch.rand(1, 32, 32)).html


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_any_precision_take_photos(dtype: torch.dtype):
    model = pyg_vig.create_model("vig_nano", depth=1).to(dtype)
    assert "data:image/png" in explore(model, Image.new("RGB", (40, 30))).html


def test_a_picture_of_sixteen_bits_becomes_one_of_eight():
    deep = Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
    assert data_url(deep) == data_url(Image.new("RGB", (8, 8), (100, 100, 100)))


@pytest.mark.parametrize("size", [0, -5])
def test_sizes_below_one_pixel(size: int):
    with pytest.raises(ValueError, match=f"size must be at least 1 pixel, got {size}"):
        explore(pyg_vig.create_model("vig_nano", depth=1), Image.new("RGB", (32, 32)), size=size)


def test_a_photo_for_a_model_that_does_not_say_its_size():
    with pytest.raises(ValueError, match="photos need a VisionGNN as model, got Linear: pass a tensor"):
        explore(nn.Linear(1, 1), Image.new("RGB", (32, 32)))


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), (200, 100, 0)).save("photo.png")
    main(["explore", "vig_nano", "photo.png", "-o", "page.html"])
    assert "page page.html" in capsys.readouterr().out
    assert "vig_nano with random weights, not trained" in Path("page.html").read_text(encoding="utf-8")
    (tmp_path / "run").mkdir()
    pyg_vig.save_checkpoint(network("isotropic"), tmp_path / "run" / "model.safetensors")
    main(["explore", "run", "photo.png", "--size", "48"])
    page = Path("explorer.html").read_text(encoding="utf-8")
    assert '<p class="muted">run</p>' in page
    assert '"grid": [12, 12]' in page


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("explore vig_nano nowhere.jpg", "nowhere.jpg"),
        ("explore vig_mini example", "unknown model 'vig_mini'"),
        ("explore vig_nano example --size 0", "--size must be at least 1 pixel, got 0"),
        ("explore vig_nano example -o nowhere/page.html", "nowhere"),
    ],
)
def test_mistakes_become_one_clear_line(command: str, message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_under_autocast() -> None:
    model = pyg_vig.create_model("vig_nano", conv="cross_attention")
    with torch.autocast("cpu", torch.bfloat16):
        assert "<html" in explore(model, Image.new("RGB", (64, 64))).html


def test_an_array_is_a_photo() -> None:
    model = pyg_vig.create_model("vig_nano", depth=1)
    pixels = torch.randint(256, (40, 50, 3), dtype=torch.uint8).numpy()
    assert explore(model, pixels).html == explore(model, Image.fromarray(pixels)).html
    with pytest.raises(ValueError, match=r"of uint8, got float64 of shape \(8, 8\)"):
        explore(model, np.zeros((8, 8)))
