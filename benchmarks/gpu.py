"""Networks on a GPU: ``python -m benchmarks.gpu --reference DIR --output benchmarks/results/gpu.json``.

Every case (network, batch, dtype, inference or training) is measured in a process of its own: the official code, ours
eager (with the Triton kernels and without), fused, compiled, compiled with CUDA graphs, timm's networks of like cost,
and the bare matrix products. A case that fails is noted, and the others go on. Results are written after every case,
and a second call with the same ``--output`` goes on where the first was stopped (``--budget`` stops it by itself).

By default float32 products run as TF32 for everybody: PyTorch runs convolutions, of which the official code is made,
that way unasked, but linear layers, of which ours is, only where it is asked to.

Run ``pytest tests/graph/test_triton_kernels.py`` on the same machine first: it holds the kernels to their definitions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pyg_vig
from benchmarks import networks
from benchmarks.case import Case
from benchmarks.networks import OFFICIAL, TIMM
from benchmarks.reference import NETWORKS
from pyg_vig.benchmark import in_fresh_process, interleave, peak_beyond, provenance, table, write
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED, MODES, PRODUCTS, call, comparison
from pyg_vig.benchmark.speed import speed_row
from pyg_vig.benchmark.timing import Subject
from pyg_vig.graph.triton_kernels import triton_kernels

Row = dict[str, Any]

PLAIN, GRAPHS = "eager, no kernels", "compiled, CUDA graphs"
_KEYS = ("model", "mode", "batch", "size", "dtype")
_WARMUP = 3  # CUDA graphs are recorded in the second call and replayed from the third
_RATE_SIZE = {"cuda": 8192, "cpu": 512}  # of the square matrices that show what rate of products the device reaches


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what is asked for and not yet there, print it, and write it after every case."""
    options, start = parse(arguments), time.monotonic()
    results = _resumed(options)
    done = {tuple(row[key] for key in _KEYS) for row in results["gpu"]}
    for case, mode in cases(options):
        described = {**case.describe(), "mode": mode}
        if tuple(described[key] for key in _KEYS) in done:
            continue
        if time.monotonic() - start > options.budget:
            print("the budget is spent: call again to go on", file=sys.stderr)
            break
        found = measure(case, mode, subjects(case, mode, options), options.rounds, options.tf32)
        rows = [{**described, **row} for row in found]
        results["gpu"] += rows
        print(gpu_table(rows), flush=True)
        write(options.output, results)
    return results


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Speed and memory on a GPU.")
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FILE.json", help="results; those in it are not measured again")
    add("--reference", nargs="+", default=[], metavar="DIR", help="folders with the official code, such as vig_pytorch")
    models = ["vig_ti", "pvig_s", "attention_vig_s", "vig_b"]
    add("--models", nargs="+", default=models, choices=pyg_vig.list_models(), metavar="NAME")
    add("--batch", nargs="+", type=int, default=[128, 256], metavar="N", help="images at a time")
    add("--size", nargs="+", type=int, default=[224], metavar="N", help="side of the images")
    add("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16", "float16"])
    add("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    add("--rounds", type=int, default=10, help="rounds of every comparison")
    add("--tf32", action=argparse.BooleanOptionalAction, default=True, help="TF32 products in float32, for everybody")
    add("--compile", action=argparse.BooleanOptionalAction, default=True, help="torch.compile as well (minutes a case)")
    add("--timm", action=argparse.BooleanOptionalAction, default=True, help="timm networks of like cost as well")
    add("--budget", type=float, default=float("inf"), metavar="SECONDS", help="start no case after this time")
    add("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try this script out")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --device cpu tries the script out")
    return options


def _resumed(options: argparse.Namespace) -> dict[str, Any]:
    results = provenance({**vars(options), "reference": bool(options.reference), "budget": None})
    found = json.loads(options.output.read_text())["gpu"] if options.output.exists() else []
    return {**results, "gpu": found}


def cases(options: argparse.Namespace) -> Iterator[tuple[Case, str]]:
    """All cases, smaller batches first, so that a run that is stopped has something of everything."""
    for batch, size, dtype, model, mode in product(
        options.batch, options.size, options.dtype, options.models, options.modes
    ):
        reference = tuple(options.reference) if model in NETWORKS else ()
        yield Case(model, None, batch, size, dtype, options.device, torch.get_num_threads(), reference), mode


def subjects(case: Case, mode: str, options: argparse.Namespace) -> list[str]:
    """What is measured in a case; a fused network is for inference only."""
    names = [OFFICIAL] * bool(case.reference) + [EAGER, PLAIN] + [FUSED] * (mode == "inference")
    if options.compile:
        names += [COMPILED, GRAPHS]
    for name in TIMM.get(case.model, ()) if options.timm else ():
        names += [name, f"{name}, {COMPILED}"] if options.compile else [name]
    return names


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """A subject of :mod:`benchmarks.networks`, or one of those that only GPUs have."""
    if subject == PLAIN:
        return _WithoutKernels(networks.build(case, EAGER, training))
    if subject == GRAPHS:
        network = networks.build(case, EAGER if training else FUSED, training)
        return torch.compile(network, fullgraph=True, mode="reduce-overhead")
    name, _, compiled = subject.partition(", ")
    network = networks.build(case, name, training)
    return torch.compile(network) if compiled else network


class _WithoutKernels(nn.Module):
    """A network whose graphs and convs run in plain PyTorch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with triton_kernels(False):
            return self.network(images)


def measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool) -> list[Row]:
    """A row for every subject; one with an ``error`` for what failed."""
    try:
        return in_fresh_process(_measure, "default", case, mode, names, rounds, tf32)
    except Exception as error:  # the process died: out of memory, or an error that leaves the device unusable
        return [{"subject": "all", "error": _message(error)}]


def _measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool) -> list[Row]:
    case.start()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    rate, ready, rows, peaks = product_rate(case), {}, [], {}
    for name in names:
        try:
            ready[name], peaks[name] = _warmed_up(case, mode, name)
        except Exception as error:  # one subject of many: the others are measured
            ready.pop(name, None)
            rows.append({"subject": name, "error": _message(error)})
    ready[PRODUCTS] = products = comparison(case, mode, [], networks.build)[PRODUCTS]
    return rows + _timed(ready, case, rounds, peaks, products.flops, rate)


def _warmed_up(case: Case, mode: str, name: str) -> tuple[Subject, float | None]:
    """A subject that has run, and its peak memory (not where CUDA graphs have set theirs aside)."""
    network = build(case, name, mode == "training")
    subject = call(network, mode, case.images(), case.torch_dtype)
    for _ in range(_WARMUP):
        subject()
    network.zero_grad(set_to_none=True)  # gradients belong to the step, not to the loaded model
    return subject, None if name == GRAPHS else peak_beyond(subject, case.device) / MIB


def _timed(
    ready: dict[str, Subject], case: Case, rounds: int, peaks: dict[str, float | None], flops: int, rate: float
) -> list[Row]:
    timings = interleave(ready, rounds, warmup=_WARMUP)
    ours = [name for name in (EAGER, PLAIN, FUSED, COMPILED, GRAPHS, PRODUCTS) if name in ready]
    return [
        {
            **speed_row(timings, name, case, OFFICIAL),
            "share_of_product_rate": flops / timings.median(name) / rate if name in ours else None,
            "product_rate_tflops": rate / 1e12,
            "peak_mib": peaks.get(name),
        }
        for name in ready
    ]


def product_rate(case: Case) -> float:
    """Floating-point operations a second of one large square product in the case's dtype: what the device can do."""
    size = _RATE_SIZE[case.device]
    left, right = (torch.randn(size, size, device=case.device, dtype=case.torch_dtype) for _ in range(2))
    timings = interleave({PRODUCTS: partial(torch.mm, left, right)}, rounds=5)
    return 2 * size**3 / min(timings.seconds[PRODUCTS])


def gpu_table(rows: list[Row]) -> str:
    """Every subject of the cases."""
    columns = [
        *_KEYS,
        "subject",
        "ms",
        "images/s",
        f"x {OFFICIAL}",
        "of products' speed",
        "of product rate",
        "peak MiB",
    ]
    lines = []
    for row in rows:
        line = [*(row[key] for key in _KEYS), row["subject"]]
        if "error" in row:
            lines.append([*line, row["error"][:60], *[None] * 5])
            continue
        line += [1e3 * row["median"], row["images_per_second"], row["speedup"]]
        lines.append([*line, row["share_of_products"], row["share_of_product_rate"], row["peak_mib"]])
    return table(columns, lines)


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


if __name__ == "__main__":
    main()
