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
_QUANTIZATION_STEPS = {"uint8": 255, "uint16": 65535}  # by dtype
_DATA_TAG = '<script id="data" type="application/json">'

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
    style = f"<style>\n{_read_template('explorer.css')}</style>"
    replacements = {'<link rel="stylesheet" href="explorer.css">': style}
    for name in _SCRIPTS:
        replacements[f'<script src="{name}"></script>'] = f"<script>\n{_read_template(name)}</script>"
    replacements |= {"{title}": escape(title), "{caption}": escape(caption), "{picture}": picture}
    content = {"height": size[0], "width": size[1], "blocks": [pack(block) for block in blocks]}
    replacements[_DATA_TAG] = _DATA_TAG + json.dumps(content).replace("<", "\\u003c")
    pattern = "|".join(map(re.escape, replacements))
    return re.sub(pattern, lambda match: replacements[match[0]], _read_template("explorer.html"))


def pack(block: BlockGraph) -> Packed:
    """Convert a graph to values that JSON can represent; ``block.js`` reads them."""
    sources = block.source_grid[0] * block.source_grid[1]
    index_dtype = np.uint16 if sources <= 1 << 16 else np.uint32
    return {
        "name": block.name,
        "grid": block.grid,
        "sourceGrid": block.source_grid,
        "attention": block.attention,
        "pointers": _encode_array(block.pointers.astype(np.uint32)),
        "neighbors": _encode_array(block.neighbors.astype(index_dtype)),
        "weights": _quantize(block.weights, "uint16"),
        **_pack_similarity(block.queries, block.keys),
    }


def _pack_similarity(queries: Tensor, keys: Tensor) -> Packed:
    """Pack all similarities, or the vectors that they are computed from, whichever is smaller."""
    vectors_size = keys.numel() + (0 if queries is keys else queries.numel())
    if queries.size(0) * keys.size(0) <= vectors_size:
        with without_autocast(queries.device):
            return {"similarities": _quantize((queries @ keys.T).numpy().ravel(), "uint8")}
    packed = {"channels": keys.size(1), "keys": _encode_array(_quantize_directions(keys))}
    return packed if queries is keys else packed | {"queries": _encode_array(_quantize_directions(queries))}


def _quantize_directions(vectors: Tensor) -> np.ndarray:
    """Quantise vectors to integers from -127 to 127, each by its own scale: only directions matter."""
    scale = vectors.abs().amax(1, keepdim=True).clamp(min=1e-12)
    return (vectors / scale * 127).round().numpy().astype(np.int8)


def _quantize(values: np.ndarray, dtype: str) -> Packed:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    steps = np.round((values - low) / ((high - low) or 1) * _QUANTIZATION_STEPS[dtype])
    return _encode_array(steps.astype(dtype)) | {"low": low, "high": high}


def _encode_array(values: np.ndarray) -> Packed:
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"type": values.dtype.name, "data": base64.b64encode(content).decode()}


def _read_template(name: str) -> str:
    return files("pyg_vig.explore").joinpath("template", name).read_text(encoding="utf-8")
