"""Render the page as one file: the template of ``template/`` with inlined style and scripts, and the packed graphs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from torch import Tensor

from pyg_vig.explore.capture import BlockGraph
from pyg_vig.graph.precision import without_autocast

_SCRIPTS = ("block.js", "drawing.js", "explorer.js")
_STEPS = {"uint8": 255, "uint16": 65535}  # quantisation steps by dtype
_DATA = '<script id="data" type="application/json">'

Packed = dict[str, Any]


def render(title: str, caption: str, picture: str, size: tuple[int, int], blocks: Sequence[BlockGraph]) -> str:
    """Render the page as HTML.

    Args:
        title: heading, plain text.
        caption: text below the heading, plain text.
        picture: ``data:`` URL of the photo.
        size: height and width of the network's input in pixels.
        blocks: graphs of the blocks.
    """
    style = f"<style>\n{_template('explorer.css')}</style>"
    parts = {'<link rel="stylesheet" href="explorer.css">': style}
    for name in _SCRIPTS:
        parts[f'<script src="{name}"></script>'] = f"<script>\n{_template(name)}</script>"
    parts |= {"{title}": escape(title), "{caption}": escape(caption), "{picture}": picture}
    content = {"height": size[0], "width": size[1], "blocks": [pack(block) for block in blocks]}
    parts[_DATA] = _DATA + json.dumps(content).replace("<", "\\u003c")
    return re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], _template("explorer.html"))


def pack(block: BlockGraph) -> Packed:
    """Convert a graph to values that JSON can represent; ``block.js`` reads them."""
    sources = block.source_grid[0] * block.source_grid[1]
    index = np.uint16 if sources <= 1 << 16 else np.uint32
    return {
        "name": block.name,
        "grid": block.grid,
        "sourceGrid": block.source_grid,
        "attention": block.attention,
        "pointers": _array(block.pointers.astype(np.uint32)),
        "neighbors": _array(block.neighbors.astype(index)),
        "weights": _quantised(block.weights, "uint16"),
        **_similarity(block.queries, block.keys),
    }


def _similarity(queries: Tensor, keys: Tensor) -> Packed:
    """Pack all similarities, or the vectors that they are computed from, whichever is smaller."""
    vectors = keys.numel() + (0 if queries is keys else queries.numel())
    if queries.size(0) * keys.size(0) <= vectors:
        with without_autocast(queries.device):
            return {"similarities": _quantised((queries @ keys.T).numpy().ravel(), "uint8")}
    packed = {"channels": keys.size(1), "keys": _array(_directions(keys))}
    return packed if queries is keys else packed | {"queries": _array(_directions(queries))}


def _directions(vectors: Tensor) -> np.ndarray:
    """Quantise vectors to integers from -127 to 127, each by its own scale: only directions matter."""
    largest = vectors.abs().amax(1, keepdim=True).clamp(min=1e-12)
    return (vectors / largest * 127).round().numpy().astype(np.int8)


def _quantised(values: np.ndarray, kind: str) -> Packed:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    steps = np.round((values - low) / ((high - low) or 1) * _STEPS[kind])
    return _array(steps.astype(kind)) | {"low": low, "high": high}


def _array(values: np.ndarray) -> Packed:
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"type": values.dtype.name, "data": base64.b64encode(content).decode()}


def _template(name: str) -> str:
    return files("pyg_vig.explore").joinpath("template", name).read_text(encoding="utf-8")
