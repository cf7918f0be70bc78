"""The page in a real browser shows what the network computed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pyg_vig.explore import BlockGraph, Exploration, capture_graphs, explore
from tests.explore.networks import NETWORKS, make_image, network, recorded_neighbors

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Yield a function that opens an exploration; the page must neither log nor load anything."""
    problems: list[str] = []

    def open_(exploration: Exploration, **context: Any) -> Page:
        page = browser.new_context(**{"viewport": {"width": 1100, "height": 760}} | context).new_page()
        address = exploration.save(tmp_path / "explorer.html").as_uri()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("data:", address)) or problems.append(request.url))
        page.goto(address)
        return page

    yield open_
    for context in browser.contexts:
        context.close()
    assert not problems


def patch_center(page: Page, grid: tuple[int, int], patch: int) -> tuple[float, float]:
    """Return the centre of a patch in window pixels."""
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    row, column = divmod(patch, grid[1])
    return box["x"] + (column + 0.5) / grid[1] * box["width"], box["y"] + (row + 0.5) / grid[0] * box["height"]


def hover(page: Page, grid: tuple[int, int], patch: int) -> None:
    page.mouse.move(*patch_center(page, grid, patch))


def highlighted(page: Page) -> list[int]:
    return page.locator("#marks .neighbor").evaluate_all("frames => frames.map((frame) => Number(frame.dataset.patch))")


def selected(page: Page) -> int:
    return int(page.locator("#marks .center").get_attribute("data-patch"))


def block_number(page: Page) -> str:
    return page.locator("#block-name").inner_text()


def some_patches(block: BlockGraph, count: int = 6) -> list[int]:
    size = block.grid[0] * block.grid[1]
    return sorted({0, size - 1, *np.random.default_rng(0).integers(0, size, count).tolist()})


@pytest.mark.parametrize("kind", NETWORKS)
def test_hovering_highlights_exactly_the_neighbours_that_the_network_computed(kind, open_page):
    model, image = network(kind), make_image(kind)
    expected, blocks = recorded_neighbors(model, image), capture_graphs(model, image)
    page = open_page(explore(model, image))
    for number, (block, neighbors) in enumerate(zip(blocks, expected, strict=True)):
        assert block_number(page) == f"{number + 1} of {len(blocks)}"
        for patch in some_patches(block):
            hover(page, block.grid, patch)
            assert selected(page) == patch
            assert highlighted(page) == neighbors[patch]
        page.keyboard.press("]")


def test_frames_lie_on_their_patches(open_page):
    model, image = network("pooled"), make_image("pooled")
    block = capture_graphs(model, image)[0]
    page = open_page(explore(model, image))
    hover(page, block.grid, 200)
    stage = page.locator("#stage").bounding_box()
    for frame in page.locator("#marks .neighbor").all():
        box = frame.evaluate(
            "frame => { const {x, y, width, height} = frame.getBoundingClientRect(); return {x, y, width, height}; }"
        )
        middle = (
            (box["y"] + box["height"] / 2 - stage["y"]) / stage["height"],
            (box["x"] + box["width"] / 2 - stage["x"]) / stage["width"],
        )
        patch = int(frame.get_attribute("data-patch"))
        row, column = divmod(patch, block.source_grid[1])
        assert middle == pytest.approx(((row + 0.5) / 8, (column + 0.5) / 8), abs=0.004)


def test_the_list_holds_the_weights_of_the_conv(open_page):
    model, image = network("attention"), make_image("attention")
    block = capture_graphs(model, image)[0]
    page = open_page(explore(model, image))
    hover(page, block.grid, 27)
    shown = [float(text) for text in page.locator("#neighbors .number").all_inner_texts()]
    start, end = block.pointers[27], block.pointers[28]
    assert shown == pytest.approx(block.weights[start:end].tolist(), abs=2e-3)
    assert "attention" in page.locator("#patch-facts").inner_text()
    page.locator("#neighbors button").nth(2).hover()
    highlighted_frame = page.locator("#marks .highlighted")
    assert int(highlighted_frame.get_attribute("data-patch")) == block.neighbors[start + 2]


@pytest.mark.parametrize("kind", ["isotropic", "attention", "pooled"])
def test_overlays_show_similarity_and_how_often_patches_are_chosen(kind, open_page):
    model, image = network(kind), make_image(kind)
    block = capture_graphs(model, image)[0]
    page = open_page(explore(model, image))
    hover(page, block.grid, 33)
    page.get_by_label("Similarity").check()
    hover(page, block.grid, 33)
    expected = (block.queries[33] @ block.keys.T).numpy()
    shown = page.evaluate("Array.from(currentBlock().similarity(currentPatch()))")
    np.testing.assert_allclose(shown, expected, atol=0.01)
    assert float(page.locator("#low").inner_text()) == pytest.approx(expected.min(), abs=0.02)
    colors = page.evaluate(
        """() => { const canvas = document.getElementById("heat");
        return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data); }"""
    )
    green = np.array(colors).reshape(-1, 4)[:, 1]  # monotone along the colour scale
    assert np.corrcoef(green, expected)[0, 1] > 0.98
    page.keyboard.press("3")
    counts = np.bincount(block.neighbors, minlength=len(expected))
    if block.grid == block.source_grid:
        counts = counts - 1  # without the self-loop
    assert page.evaluate("Array.from(currentBlock().timesChosen())") == counts.tolist()
    assert page.locator("#high").inner_text() == str(counts.max())
    page.keyboard.press("1")
    assert page.locator("#heat").is_hidden()


def test_the_keyboard_alone(open_page):
    model, image = network("isotropic"), make_image("isotropic")
    expected = recorded_neighbors(model, image)
    page = open_page(explore(model, image))
    page.keyboard.press("Tab"), page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "stage"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    start = selected(page)
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    patch = start - 12 + 1
    assert selected(page) == patch
    page.keyboard.press("]"), page.keyboard.press("]")
    assert block_number(page) == "3 of 3"
    assert highlighted(page) == expected[2][patch]
    row, column = divmod(patch, 12)
    announcement = page.locator("#announcement").inner_text()
    assert announcement.startswith(
        f"Block 3, patch in row {row + 1}, column {column + 1}: {len(expected[2][patch])} neigh"
    )
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert selected(page) == row * 12  # stops at the border
    page.keyboard.press("[")
    assert block_number(page) == "2 of 3"
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_slider_chooses_the_block_and_leaves_the_patch(open_page):
    model, image = network("pooled"), make_image("pooled")
    expected = recorded_neighbors(model, image)
    page = open_page(explore(model, image))
    hover(page, (32, 32), 5 * 32 + 9)
    page.locator("#block").focus()
    page.keyboard.press("ArrowRight")
    assert block_number(page) == "2 of 4"
    assert selected(page) == 2 * 16 + 4  # the same position in a coarser grid
    assert highlighted(page) == expected[1][2 * 16 + 4]
    assert page.locator("#block").get_attribute("aria-valuetext") == "block 2 of 4, 16 × 16 patches"
    page.locator("#block").fill("4")
    assert highlighted(page) == expected[3][0 * 4 + 1]
    page.get_by_label("Previous block").click()
    assert block_number(page) == "3 of 4"
    assert page.locator("#next").is_enabled()


def test_a_click_pins_the_patch_and_the_list_leads_on(open_page):
    model, image = network("isotropic"), make_image("isotropic")
    expected = recorded_neighbors(model, image)
    page = open_page(explore(model, image))
    page.mouse.click(*patch_center(page, (8, 12), 40))
    hover(page, (8, 12), 3)
    assert selected(page) == 40
    assert page.locator("#pinned").is_visible()
    page.locator("#neighbors button").nth(1).click()
    assert selected(page) == expected[0][40][1]
    page.mouse.click(*patch_center(page, (8, 12), expected[0][40][1]))
    hover(page, (8, 12), 3)
    assert selected(page) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_system_and_keeps_its_contrast(scheme, open_page):
    page = open_page(explore(network("isotropic"), make_image("isotropic"), caption="not trained"), color_scheme=scheme)
    for theme in (scheme, "dark" if scheme == "light" else "light"):
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        background = luminance(page, "body", "backgroundColor")
        assert (background < 0.1) == (theme == "dark")
        for words in ("h1", "header .muted", "label[for=block]", "#patch-facts", "#neighbors .number", "summary"):
            lighter, darker = sorted([background, luminance(page, words, "color")], reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) > 4.5, words
        page.locator("#theme").click()


def luminance(page: Page, selector: str, of: str) -> float:
    """Return the relative luminance as defined by WCAG 2."""
    color = page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{of}")
    channels = np.array([float(value) for value in color[4:-1].split(",")]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_taps_on_a_phone(open_page):
    model, image = network("isotropic"), make_image("isotropic")
    expected = recorded_neighbors(model, image)
    page = open_page(explore(model, image), **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for patch in (5, 90):
        page.touchscreen.tap(*patch_center(page, (8, 12), patch))
        assert selected(page) == patch
        assert highlighted(page) == expected[0][patch]
    page.locator("#next").tap()
    assert highlighted(page) == expected[1][90]
    for button in page.locator("button:visible, .choices label").all():
        assert button.bounding_box()["height"] >= 24  # WCAG 2.2, target size


def test_every_control_has_a_name(open_page):
    page = open_page(explore(network("isotropic"), make_image("isotropic")))
    for role, name in [
        ("slider", "Block"),
        ("radio", "Similarity"),
        ("button", "Next block"),
        ("list", "Neighbours"),
        ("application", "Photo in patches"),
    ]:
        assert page.get_by_role(role, name=name).count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"


def test_runs_in_the_frame_that_notebooks_show(open_page, browser: Browser):
    model, image = network("isotropic"), make_image("isotropic")
    expected = recorded_neighbors(model, image)
    page = browser.new_context(viewport={"width": 900, "height": 760}).new_page()
    page.set_content(explore(model, image)._repr_html_())
    frame = page.frame_locator("iframe")
    frame.locator("#marks .center").wait_for(state="attached")
    box = frame.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.5 / 12 * box["width"], box["y"] + 0.5 / 8 * box["height"])
    shown = frame.locator("#marks .neighbor").evaluate_all("frames => frames.map((frame) => +frame.dataset.patch)")
    assert shown == expected[0][0]
