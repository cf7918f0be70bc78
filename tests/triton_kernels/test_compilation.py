"""The kernels compile to machine code for a GPU, which needs none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
    # Triton 3.9, on a setting that its next release changes; no kernel here depends on it.
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset:UserWarning"),
]

FLAGS = {"HAS_PTR", "WINNERS", "HAS_WEIGHT", "RAGGED", "HAS_SCALE", "HAS_BASE", "HAS_BIAS", "HAS_RUNNING", "HAS_OFFSET"}
TILES = {"ROWS": 32, "COLUMNS": 64, "CHANNELS": 32, "SLOTS": 16, "ITSELF": 2, "DEGREE": 3, "PRECISION": "tf32x3"}
POINTERS = {"src": "*i64", "ptr": "*i64", "dst": "*i64", "ptr_src": "*i64", "ptr_dst": "*i64", "winner": "*i32"}
ROWS = ("x", "y", "grad", "weight", "base", "bias")  # of features, distances or weights


def machine_code(kernel: Any, dtype: str, pointers: dict[str, str], **sizes: int) -> bytes:
    """The kernel with all its options on, for an H100."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = {**dict.fromkeys(ROWS, dtype), "out": dtype, **POINTERS, **pointers}
    constants = {"ACCUMULATOR": triton.language.float32, **dict.fromkeys(FLAGS, True), **TILES, **sizes}
    signature = {name: "constexpr" if name in constants else names.get(name, "i32") for name in kernel.arg_names}
    fixed = {(place,): constants[name] for place, name in enumerate(kernel.arg_names) if name in constants}
    compiled = triton.compile(ASTSource(kernel, signature, fixed), target=GPUTarget("cuda", 90, 32))
    return compiled.asm["cubin"]


@pytest.mark.parametrize("degree", [0, 9])
@pytest.mark.parametrize("channels", [32, 192])
@pytest.mark.parametrize("name", ["largest", "sum", "products", "scatter", "gather_winners"])
def test_reductions(name: str, channels: int, degree: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyg_vig.triton_kernels import reduce

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {"out": "*fp32"} if name == "scatter" else {}  # atomic additions are in float32
    _, (rows, width) = reduce._tiles(1000, channels)
    sizes = {"ROWS": rows, "CHANNELS": width, "DEGREE": degree}
    assert machine_code(getattr(reduce, f"_{name}_kernel"), "*bf16", pointers, **sizes)


@pytest.mark.parametrize("one_tile", [False, True])
def test_nearest_neighbours(one_tile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyg_vig.triton_kernels import knn

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {"src": "*fp32", "dst": "*fp32", "scale_src": "*fp32", "scale_dst": "*fp32", "out": "*i64"}
    assert machine_code(knn._nearest_kernel, "*fp32", pointers, ONE_TILE=one_tile, COLUMNS=256 if one_tile else 64)


@pytest.mark.parametrize("act", [0, 1, 2])
@pytest.mark.parametrize("name", ["moments", "statistics", "apply", "slopes", "gradients", "backward"])
def test_batch_norm(name: str, act: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyg_vig.triton_kernels import batch_norm

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    floats = ("sums", "weight", "bias", "running_mean", "running_var", "offset", "coefficients", "gradients")
    numbers = {"eps": "fp32", "momentum": "fp32", "batches": "*i64"}
    sizes = {"BLOCKS": batch_norm._BLOCKS, "ROWS": batch_norm._TILE // 64, "CHANNELS": 64, "ACT": act}
    if name in ("statistics", "gradients"):
        sizes["CHANNELS"] = batch_norm._CHANNELS
    kernel = getattr(batch_norm, f"_{name}_kernel")
    assert machine_code(kernel, "*bf16", {**dict.fromkeys(floats, "*fp32"), **numbers}, **sizes)


def test_lengths_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyg_vig.triton_kernels import knn

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert machine_code(knn._scale_kernel, "*bf16", {"out": "*fp32"})
