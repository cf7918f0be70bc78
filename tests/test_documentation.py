"""The pages of the documentation: Python code runs, and images and links have existing targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not path.is_symlink())
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]
MADE_BY_SITE = ("reference/", "changelog.md")


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_blocks_run_one_after_the_other(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # examples write their files here
    names: dict[str, object] = {"__name__": "__main__"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_to_files(page: Path):
    for link in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text()):
        target = (page.parent / link).resolve()
        made_by_site = target.is_relative_to(DOCS) and str(target.relative_to(DOCS)).startswith(MADE_BY_SITE)
        assert made_by_site or target.exists(), link


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    missing = [str(page.relative_to(DOCS)) for page in PAGES if f": {page.relative_to(DOCS)}\n" not in navigation]
    assert not missing
