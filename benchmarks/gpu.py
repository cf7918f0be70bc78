"""Networks on a GPU: ``python -m benchmarks.gpu --reference DIR --output benchmarks/results/gpu.json``.

Every case (network, batch, dtype, inference or training) has a process of its own: the official code, ours eager (with
the Triton kernels and without), fused, captured (the eager network or, in inference, the fused one in a CUDA graph),
compiled, compiled with CUDA graphs, timm's networks of like cost, and the bare matrix products. ``--jobs`` processes
build and compile at once, since that is work of the CPU; then each has the GPU to itself while it measures, but for the
compilers of others, which try out a kernel now and then. What fails is noted, and the others go on. Results are written
after every case, and a second call with the same ``--output`` goes on where the first was stopped (``--budget`` stops
it by itself).

By default float32 products run as TF32 for everybody: PyTorch runs convolutions, of which the official code is made,
that way unasked, but linear layers, of which ours is, only where it is asked to.

Where time on the GPU is short: ``pytest -v -m "gpu and not slow" tests/triton_kernels tests/models`` first, which holds
the kernels to their definitions and networks to the CPU's; then this script with ``--no-compile --jobs 8``; at last,
with another ``--output``, what compiles for minutes, ``--subjects official "compiled, CUDA graphs"``.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
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
from benchmarks.series import rows_so_far
from pyg_vig.benchmark import in_fresh_process, interleave, peak_beyond, provenance, table, write
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED, MODES, PRODUCTS, call, comparison
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.speed import speed_row
from pyg_vig.benchmark.timing import Subject, Timings
from pyg_vig.triton_kernels import triton_kernels

ALL = "all"  # stands for the subjects of a case whose process died
PLAIN, CAPTURED, GRAPHS = "eager, no kernels", "captured", "compiled, CUDA graphs"
_KEYS = ("model", "mode", "batch", "size", "dtype")
_FREE = ("models", "modes", "batch", "size", "dtype", "jobs", "budget")  # what a call that goes on may ask for anew
_CALLS = 2  # between two looks at the clock
_WARMUP = 3  # CUDA graphs are recorded in the second call and replayed from the third
_RATE_SIZE = {"cuda": 8192, "cpu": 512}  # of the square matrices that show what rate of products the device reaches


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what is asked for and not yet there, print it, and write it after every case."""
    options, start = parse(arguments), time.monotonic()
    results = _resumed(options)
    done = {_place(row) for row in results["gpu"]}
    missing = [(case, mode) for case, mode in cases(options) if _place({**case.describe(), "mode": mode}) not in done]
    for first in range(0, len(missing), options.jobs):
        if time.monotonic() - start > options.budget:
            print("the budget is spent: call again to go on", file=sys.stderr)
            break
        for rows in measure_together(missing[first : first + options.jobs], options):
            results["gpu"] += rows
            print(gpu_table(rows), flush=True)
            write(options.output, results)
    return results


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in _KEYS)


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
    add("--subjects", nargs="+", metavar="NAME", help="these alone, and timm's where asked for")
    add("--jobs", type=int, default=1, metavar="N", help="cases that are built and compiled at once")
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
    found = rows_so_far(options.output, results, "gpu", free=_FREE)
    return {**results, "gpu": [row for row in found if row["subject"] != ALL]}  # a process that died is started again


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
    names += [CAPTURED] * (options.device == "cuda")
    if options.compile:
        names += [COMPILED, GRAPHS]
    if options.subjects:
        names = [name for name in names if name in options.subjects]
    for name in TIMM.get(case.model, ()) if options.timm else ():
        names += [name] + [f"{name}, {CAPTURED}"] * (options.device == "cuda")
        names += [f"{name}, {COMPILED}"] * options.compile
    return names


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """A subject of :mod:`benchmarks.networks`, or one of those that only GPUs have."""
    if subject == PLAIN:
        return _WithoutKernels(networks.build(case, EAGER, training))
    if subject in (CAPTURED, GRAPHS):
        network = networks.build(case, EAGER if training else FUSED, training)
        return network if subject == CAPTURED else torch.compile(network, fullgraph=True, mode="reduce-overhead")
    name, _, how = subject.partition(", ")
    network = networks.build(case, name, training)
    return torch.compile(network) if how == COMPILED else network


class _WithoutKernels(nn.Module):
    """A network whose graphs and convs run in plain PyTorch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with triton_kernels(False):
            return self.network(images)


def measure_together(some: Sequence[tuple[Case, str]], options: argparse.Namespace) -> Iterator[list[Row]]:
    """Rows of cases that are built at once and measured one by one, as they become known."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, (os.cpu_count() or 1) // len(some))))
    with tempfile.NamedTemporaryFile() as turns, ThreadPoolExecutor(len(some)) as pool:
        running = {
            pool.submit(measure, case, mode, subjects(case, mode, options), options.rounds, options.tf32, turns.name): (
                case,
                mode,
            )
            for case, mode in some
        }
        for future in as_completed(running):
            case, mode = running[future]
            yield [{**case.describe(), "mode": mode, **row} for row in future.result()]


def measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool, turns: str) -> list[Row]:
    """A row for every subject; one with an ``error`` for what failed.

    Args:
        case: network and load.
        mode: ``"inference"`` or ``"training"``.
        names: subjects, see :func:`build`.
        rounds: how often each is timed.
        tf32: whether products in float32 may run as TF32.
        turns: a file that processes lock: together to build, one alone to measure.
    """
    try:
        return in_fresh_process(_measure, "default", case, mode, names, rounds, tf32, turns)
    except Exception as error:  # the process died: out of memory, or an error that leaves the device unusable
        return [{"subject": ALL, "error": _message(error)}]


def _measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool, turns: str) -> list[Row]:
    case.start()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    slow = [name for name in names if COMPILED in name]
    ready, failed = _prepared(case, mode, slow)
    with _locked(turns, fcntl.LOCK_SH):
        others, late = _prepared(case, mode, [name for name in names if name not in slow])
    with _locked(turns, fcntl.LOCK_EX):
        again, failed = _prepared(case, mode, [*failed, *late])  # alone, there may be memory for it
        ready = {**others, **ready, **again}
        peaks = {name: _peak(*ready[name], case) for name in ready if not _is_recorded(name)}
        calls = {name: subject for name, (subject, _) in ready.items()}
        calls[PRODUCTS] = products = comparison(case, mode, [], networks.build)[PRODUCTS]
        rows = _timed(calls, case, rounds, peaks, products.flops, product_rate(case))
    return [{"subject": name, "error": _message(error)} for name, error in failed.items()] + rows


@contextmanager
def _locked(file: str, how: int) -> Iterator[None]:
    with open(file) as lock:
        fcntl.flock(lock, how)
        yield


def _prepared(
    case: Case, mode: str, names: list[str]
) -> tuple[dict[str, tuple[Subject, nn.Module]], dict[str, Exception]]:
    """Subjects that have run, with their networks, and why others have not: one fails, the others are measured."""
    ready, failed = {}, {}
    for name in names:
        try:
            ready[name] = _warmed_up(case, mode, name)
        except Exception as error:
            failed[name] = error.with_traceback(None)  # which holds what the memory is full of
        if case.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
    return ready, failed


def _warmed_up(case: Case, mode: str, name: str) -> tuple[Subject, nn.Module]:
    network = build(case, name, mode == "training")
    subject = call(network, mode, case.images(), case.torch_dtype)
    for _ in range(_WARMUP):
        subject()
    network.zero_grad(set_to_none=True)  # gradients belong to the step, not to the loaded model
    return (_captured(subject, network) if CAPTURED in name else subject), network


def _captured(subject: Subject, network: nn.Module) -> Subject:
    """Replay of what the subject launches, without the host's time to launch it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # once where it will be recorded, as PyTorch asks for
        subject()
    torch.cuda.current_stream().wait_stream(stream)
    network.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        subject()
    return partial(_replay, graph, subject)


def _replay(graph: torch.cuda.CUDAGraph, recorded: Subject) -> None:
    """Run the graph; it reads the memory of what was recorded, which must therefore stay."""
    graph.replay()


def _is_recorded(name: str) -> bool:
    """Whether its memory was set aside before it runs, by CUDA graphs."""
    return name == GRAPHS or CAPTURED in name


def _peak(subject: Subject, network: nn.Module, case: Case) -> float:
    peak = peak_beyond(subject, case.device) / MIB
    network.zero_grad(set_to_none=True)
    return peak


def _timed(
    ready: dict[str, Subject], case: Case, rounds: int, peaks: dict[str, float], flops: int, rate: float
) -> list[Row]:
    calls = {name: partial(_repeat, subject) for name, subject in ready.items()}
    seconds = interleave(calls, rounds, warmup=0).seconds
    timings = Timings({name: [value / _CALLS for value in values] for name, values in seconds.items()})
    ours = [name for name in (EAGER, PLAIN, FUSED, CAPTURED, COMPILED, GRAPHS, PRODUCTS) if name in ready]
    return [
        {
            **speed_row(timings, name, case, OFFICIAL),
            "share_of_product_rate": flops / timings.median(name) / rate if name in ours else None,
            "product_rate_tflops": rate / 1e12,
            "peak_mib": peaks.get(name),  # not where CUDA graphs have set their memory aside
        }
        for name in ready
    ]


def _repeat(subject: Subject) -> None:
    """Call after call, as in use: the next is being launched while one runs."""
    for _ in range(_CALLS):
        subject()


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
