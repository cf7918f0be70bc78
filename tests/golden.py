"""Deterministic weights and inputs of the fixtures (``fixtures/*.json``, ``*.npz``), so that neither is stored.

Every fixture holds results of the official implementation of a network. Its weights are a function of their names and
shapes: uniform numbers from a Mersenne twister seeded with the name's CRC-32, scaled by the kind of parameter.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"


def uniform(key: str, n: int) -> np.ndarray:
    """Return ``n`` float64 numbers in [0, 1) that depend only on ``key``."""
    state = np.random.RandomState(zlib.crc32(key.encode()))
    return (state.randint(0, 2**32, size=n, dtype=np.uint32) & 0xFFFFFF) * 2.0**-24


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor named ``key`` in the official state dict, float32 (int64 for counters)."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = uniform(key, math.prod(shape)).reshape(shape)
    return torch.from_numpy(_scaled(key, u).astype(np.float32))


def _scaled(key: str, u: np.ndarray) -> np.ndarray:
    if key.endswith("relative_pos"):
        raise ValueError(f"{key!r} is not drawn: the official constructor computes it")
    if key.endswith("pos_embed"):
        return 0.4 * u - 0.2
    if "layer_scale" in key:
        return 0.25 + 0.5 * u
    if key.endswith(("running_mean", ".bias")):
        return 0.2 * u - 0.1
    if key.endswith("running_var") or (key.endswith(".weight") and u.ndim == 1):
        return 0.75 + 0.5 * u
    if key.endswith(".eps"):
        return 0.5 * u
    if not key.endswith(".weight"):
        raise ValueError(f"the rule does not name {key!r}")
    gain = 1.5 if key.startswith("stem") else 0.8
    return (2 * u - 1) * gain * math.sqrt(3 / math.prod(u.shape[1:]))


def golden_input(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return the float32 input of a case: images for keys that start with ``input``, otherwise uniform in [-1, 1)."""
    if not key.startswith("input"):
        return torch.from_numpy((2 * uniform(key, math.prod(shape)) - 1).reshape(shape).astype(np.float32))
    batch, channels, height, width = shape
    coarse_shape = (batch, channels, math.ceil(height / 16), math.ceil(width / 16))
    coarse = uniform(f"{key}.coarse", math.prod(coarse_shape)).reshape(coarse_shape)
    coarse = coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, :height, :width]
    fine = uniform(f"{key}.fine", math.prod(shape)).reshape(shape)
    return torch.from_numpy((1.5 * (2 * coarse - 1) + 0.5 * (2 * fine - 1)).astype(np.float32))


def load_case(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Load the description and arrays of a fixture."""
    description = json.loads((FIXTURES / f"{name}.json").read_text())
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        return description, dict(arrays)


def golden_weights(description: dict[str, Any]) -> dict[str, Tensor]:
    """Return the official state dict of a case, without the tensors that the official constructor computes."""
    return {
        key: fill(key, tuple(shape)) for key, shape, *_ in description["state_dict"] if not key.endswith("relative_pos")
    }


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of the little-endian bytes, as recorded in the fixtures."""
    return zlib.crc32(tensor.contiguous().numpy().tobytes())
