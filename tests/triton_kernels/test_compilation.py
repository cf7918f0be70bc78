"""The kernels compile to machine code for several GPUs, without a GPU, and fit into their shared memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

triton = pytest.importorskip("triton")

pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"),
    # Triton 3.9 warns about a setting that its next release changes; no kernel here depends on it.
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset:UserWarning"),
]


class GPU(NamedTuple):
    backend: str
    arch: int | str
    lanes: int  # threads per warp
    shared: int  # KiB of shared memory per program


GPUS = {
    "T4": GPU("cuda", 75, 32, 64),
    "A100": GPU("cuda", 80, 32, 163),
    "RTX4090": GPU("cuda", 89, 32, 99),
    "H100": GPU("cuda", 90, 32, 227),
    "MI250": GPU("hip", "gfx90a", 64, 64),
}

FLAGS = {
    "HAS_PTR",
    "RETURN_ARGMAX",
    "HAS_WEIGHT",
    "RAGGED",
    "HAS_SCALE",
    "HAS_SRC_BIAS",
    "HAS_PAIR_BIAS",
    "HAS_RUNNING",
    "HAS_OFFSET",
}
POINTERS = {"src": "*i64", "ptr": "*i64", "dst": "*i64", "ptr_src": "*i64", "ptr_dst": "*i64", "argmax": "*i32"}
ROWS = ("x", "y", "grad", "weight", "src_bias", "pair_bias", "bias")  # features, distances or weights


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def check(kernel: Any, gpu: str, dtype: str, pointers: dict[str, str], warps: int = 4, **constants: Any) -> None:
    """Compile the kernel with all options enabled and check its shared memory."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    backend, arch, lanes, shared = GPUS[gpu]
    names = {**dict.fromkeys(ROWS, dtype), "out": dtype, **POINTERS, **pointers}
    constants = {"ACCUMULATOR": triton.language.float32, **dict.fromkeys(FLAGS, True), **constants}
    signature = {name: "constexpr" if name in constants else names.get(name, "i32") for name in kernel.arg_names}
    fixed = {(place,): constants[name] for place, name in enumerate(kernel.arg_names) if name in constants}
    source = ASTSource(kernel, signature, fixed)
    compiled = triton.compile(source, target=GPUTarget(backend, arch, lanes), options={"num_warps": warps})
    assert compiled.asm["hsaco" if backend == "hip" else "cubin"]
    assert compiled.metadata.shared <= shared * 1024


@pytest.mark.parametrize(("gpu", "channels"), [("H100", 32), ("H100", 192), ("MI250", 192)])
@pytest.mark.parametrize("degree", [0, 9])
@pytest.mark.parametrize("name", ["max", "sum", "dot", "scatter", "scatter_deterministic"])
def test_reductions(name: str, degree: int, gpu: str, channels: int) -> None:
    from pyg_vig.triton_kernels import reduce

    pointers = {"out": "*fp32"} if name == "scatter" else {}  # atomic additions run in float32
    _, (rows, width) = reduce._tile_grid(1000, channels)
    check(getattr(reduce, f"_{name}_kernel"), gpu, "*bf16", pointers, ROWS=rows, CHANNELS=width, DEGREE=degree)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("sources", [196, 5000])
def test_nearest_neighbours(sources: int, dtype: str, gpu: str) -> None:
    from pyg_vig.triton_kernels import knn

    rows_type = torch.float32 if dtype == "fp32" else torch.bfloat16
    one_tile, rows, columns, warps = knn._tile_sizes(3136, sources, 16, rows_type)
    tile = {"ONE_TILE": one_tile, "ROWS": rows, "COLUMNS": columns, "CHANNELS": 32, "SLOTS": 16}
    precision = knn._precision(rows_type, amd=GPUS[gpu].backend == "hip")
    floats = dict.fromkeys(("scale_src", "scale_dst", "src_bias", "pair_bias"), "*fp32")
    pointers = {"src": f"*{dtype}", "dst": f"*{dtype}", **floats, "out": "*i64"}
    check(knn._nearest_kernel, gpu, f"*{dtype}", pointers, warps, **tile, PRECISION=precision, SELF_MODE=2)


@pytest.mark.parametrize(("gpu", "blocks"), [("H100", 512), ("H100", 1), ("MI250", 512)])
@pytest.mark.parametrize("name", ["moments", "statistics", "normalize", "grad_sums", "grad_params", "backward"])
def test_batch_norm(name: str, gpu: str, blocks: int) -> None:
    """Triton makes a constant of an integer argument that is 1, such as the number of blocks of few rows."""
    from pyg_vig.triton_kernels import batch_norm

    floats = (
        "sums",
        "moments",
        "weight",
        "bias",
        "offset",
        "running_mean",
        "running_var",
        "coefficients",
        "grad_params",
    )
    numbers = {"eps": "fp32", "momentum": "fp32", "batches": "*i64"}
    sizes = {
        "BLOCKS": batch_norm._TILE_BLOCKS,
        "ROWS": batch_norm._TILE // 64,
        "CHANNELS": 64,
        "ACT": batch_norm.ACTIVATIONS["gelu"],
    }
    if blocks == 1:
        sizes["blocks"] = 1
    if name in ("statistics", "grad_params"):
        sizes["CHANNELS"] = batch_norm._TILE_CHANNELS
    kernel = getattr(batch_norm, f"_{name}_kernel")
    check(kernel, gpu, "*bf16", {**dict.fromkeys(floats, "*fp32"), **numbers}, **sizes)


@pytest.mark.parametrize("gpu", GPUS)
def test_lengths_of_rows(gpu: str) -> None:
    from pyg_vig.triton_kernels import knn

    check(knn._scale_kernel, gpu, "*bf16", {"out": "*fp32"}, ROWS=knn._NORM_ROWS, CHANNELS=128)
