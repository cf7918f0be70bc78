"""Take the pictures of the explorer in docs/figures: `python scripts/explorer_pictures.py --weights RUNS`.

RUNS holds photos.safetensors and photos_attention.safetensors, both from scripts/photo_network.py (the second with
--conv cross_attention). Needs chromium (apt-get install chromium).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from skimage.data import astronaut

import pyg_vig
from pyg_vig.explore import Exploration, explore

GRID = 14
BLOCK = 9
DESKTOP = {"viewport": {"width": 1080, "height": 700}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "has_touch": True, "is_mobile": True}


@contextmanager
def opened(browser: Browser, exploration: Exploration, **context: object) -> Iterator[Page]:
    """Open the exploration at :data:`BLOCK`, in light colours."""
    with tempfile.TemporaryDirectory() as folder:
        page = browser.new_context(**context).new_page()
        page.goto(exploration.save(Path(folder, "explorer.html")).as_uri())
        page.locator("#block").fill(str(BLOCK))
        page.locator("#block").blur()  # no focus ring
        yield page
        page.context.close()


def point_at(page: Page, row: int, column: int) -> None:
    """Move the pointer to a patch, given by row and column counted from 1."""
    box = page.locator("#stage").bounding_box()
    x, y = ((number - 0.5) / GRID for number in (column, row))
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def take(page: Page, path: Path) -> None:
    """Save the page as a PNG of 256 colours, a third of the size."""
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.quantize(256).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder with the trained networks")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or parser.error("needs chromium: apt-get install chromium")
    photo = astronaut()[:340, 60:400]
    caption = "A small ViG{} trained on 22 photographs to classify their patches"
    explorations = {
        name: explore(pyg_vig.load_model(options.weights / f"{name}.safetensors"), photo, **texts)
        for name, texts in {
            "photos": {"caption": caption.format("")},
            "photos_attention": {
                "caption": caption.format(" with cross-attention"),
                "title": "Which patches does each patch attend to?",
            },
        }.items()
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with opened(browser, explorations["photos"], **DESKTOP) as page:
            point_at(page, 5, 7)
            take(page, options.output / "explorer-light.png")
            page.keyboard.press("t")  # dark
            page.keyboard.press("2")  # similarity
            take(page, options.output / "explorer-dark.png")
        with opened(browser, explorations["photos_attention"], **PHONE) as page:
            point_at(page, 8, 8)
            take(page, options.output / "explorer-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
