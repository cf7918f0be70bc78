"""The README's Python blocks run in order, and its links have existing targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_code_blocks_run():
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["logits"].shape == (2, 1000)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?://)([^)#]+)\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()


def test_short_examples_stay_short():
    lengths = {}
    for title, block in re.findall(r"^## ([^\n]*)\n+```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        lengths[title] = len([line for line in block.splitlines() if line.strip()])
    assert lengths["From image to logits"] <= 10
    assert lengths["Swap the conv"] <= 6
