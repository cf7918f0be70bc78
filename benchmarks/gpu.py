"""Networks on a GPU: ``python -m benchmarks.gpu --reference DIR --output benchmarks/results/gpu.json``.

Every case (network, batch, dtype, inference or training) runs in its own process and measures: the official code, our
network in eager mode (with and without the Triton kernels), fused, captured (the eager network or, in inference, the
fused one in a CUDA graph), compiled, compiled with CUDA graphs, timm's networks of similar cost, and the bare matrix
products. Building and compiling is CPU work, so ``--jobs`` processes do it at once; each process then has the GPU to
itself while it measures, except that the other processes' compilers occasionally try out a kernel. A failing subject
is recorded, and the others are still measured. Results are written after every case, and a second call with the same
``--output`` resumes where the first one stopped (``--budget`` stops it after a given time).

By default, float32 products run as TF32 for all networks: PyTorch uses TF32 for convolutions, of which the official
code consists, by default, but for linear layers, of which ours consists, only on request.

If GPU time is short, first run ``pytest -v -m "gpu and not slow" tests/triton_kernels tests/models``, which compares
the kernels with their definitions and the networks with their results on the CPU; then this script with ``--no-compile
--jobs 8``, where 8 cases take about a minute; and finally, with another ``--output``, what compiles for minutes:
``--subjects official "compiled, CUDA graphs"``. Do not do two of these at once: what is limited by the host would be
too slow. The same holds after ending a run that compiles, whose compilers may go on for a while.
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
from benchmarks.series import load_finished_rows
from pyg_vig.benchmark import in_fresh_process, interleave, peak_beyond, provenance, table, write
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.networks import COMPILED, EAGER, FUSED, MODES, PRODUCTS, build_subjects, make_call
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.speed import speed_row
from pyg_vig.benchmark.timing import Subject, Timings
from pyg_vig.triton_kernels import triton_kernels

CRASHED = "all"  # placeholder for the subjects of a case whose process died
NO_KERNELS, CAPTURED, COMPILED_GRAPHS = "eager, no kernels", "captured", "compiled, CUDA graphs"
_KEYS = ("model", "mode", "batch", "size", "dtype")
# options that a resumed run may change
_IGNORED_SETTINGS = ("models", "modes", "batch", "size", "dtype", "jobs", "budget")
_CALLS_PER_TIMING = 2
_WARMUP = 3  # CUDA graphs are recorded in the second call and replayed from the third
_RATE_SIZE = {"cuda": 8192, "cpu": 512}  # side of the square matrices for measuring the device's product rate


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure the requested cases that are not in the output yet; print and write the results after every case."""
    options, start = parse(arguments), time.monotonic()
    results = _resume_results(options)
    done = {_key(row) for row in results["gpu"]}
    missing = [(case, mode) for case, mode in cases(options) if _key({**case.describe(), "mode": mode}) not in done]
    for first in range(0, len(missing), options.jobs):
        if time.monotonic() - start > options.budget:
            print(f"stopped after --budget {options.budget:g} s: repeat the command to continue", file=sys.stderr)
            break
        for rows in measure_with_parallel_builds(missing[first : first + options.jobs], options):
            results["gpu"] += rows
            print(gpu_table(rows), flush=True)
            write(options.output, results)
    return results


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in _KEYS)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Speed and memory on a GPU.")
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FILE.json", help="results file; cases in it are skipped")
    add("--reference", nargs="+", default=[], metavar="DIR", help="folders with the official code, such as vig_pytorch")
    models = ["vig_ti", "pvig_s", "attention_vig_s", "vig_b"]
    add("--models", nargs="+", default=models, choices=pyg_vig.list_models(), metavar="NAME")
    add("--batch", nargs="+", type=int, default=[128, 256], metavar="N", help="batch sizes")
    add("--size", nargs="+", type=int, default=[224], metavar="N", help="sides of the images in pixels")
    add("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16", "float16"])
    add("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    add("--rounds", type=int, default=10, help="rounds of every comparison")
    add("--subjects", nargs="+", metavar="NAME", help="measure only these (and timm's, unless --no-timm)")
    add("--jobs", type=int, default=1, metavar="N", help="cases to build and compile in parallel")
    add("--tf32", action=argparse.BooleanOptionalAction, default=True, help="let float32 products run as TF32")
    add("--compile", action=argparse.BooleanOptionalAction, default=True, help="also use torch.compile (takes minutes)")
    add("--timm", action=argparse.BooleanOptionalAction, default=True, help="also measure similar networks of timm")
    add("--budget", type=float, default=float("inf"), metavar="SECONDS", help="start no new case after this time")
    add("--device", default="cuda", choices=["cuda", "cpu"], help="use cpu only to try out this script")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but PyTorch finds none: use --device cpu to try out this script")
    return options


def _resume_results(options: argparse.Namespace) -> dict[str, Any]:
    results = provenance({**vars(options), "reference": bool(options.reference), "budget": None})
    rows = load_finished_rows(options.output, results, "gpu", ignored_settings=_IGNORED_SETTINGS)
    return {**results, "gpu": [row for row in rows if row["subject"] != CRASHED]}  # retry cases whose process died


def cases(options: argparse.Namespace) -> Iterator[tuple[Case, str]]:
    """Yield all cases, smaller batches first, so that even an interrupted run covers all networks and modes."""
    for batch, size, dtype, model, mode in product(
        options.batch, options.size, options.dtype, options.models, options.modes
    ):
        reference = tuple(options.reference) if model in NETWORKS else ()
        yield Case(model, None, batch, size, dtype, options.device, torch.get_num_threads(), reference), mode


def subjects(case: Case, mode: str, options: argparse.Namespace) -> list[str]:
    """Return the networks to measure in a case; fused networks are for inference only."""
    names = [OFFICIAL] * bool(case.reference) + [EAGER, NO_KERNELS] + [FUSED] * (mode == "inference")
    names += [CAPTURED] * (options.device == "cuda")
    if options.compile:
        names += [COMPILED, COMPILED_GRAPHS]
    if options.subjects:
        names = [name for name in names if name in options.subjects]
    for name in TIMM.get(case.model, ()) if options.timm else ():
        names += [name] + [f"{name}, {CAPTURED}"] * (options.device == "cuda")
        names += [f"{name}, {COMPILED}"] * options.compile
    return names


def build(case: Case, subject: str, training: bool = False) -> nn.Module:
    """Build a subject of :mod:`benchmarks.networks`, or one of those that exist only in this benchmark."""
    if subject == NO_KERNELS:
        return _WithoutKernels(networks.build(case, EAGER, training))
    if subject in (CAPTURED, COMPILED_GRAPHS):
        network = networks.build(case, EAGER if training else FUSED, training)
        return network if subject == CAPTURED else torch.compile(network, fullgraph=True, mode="reduce-overhead")
    name, _, variant = subject.partition(", ")
    network = networks.build(case, name, training)
    return torch.compile(network) if variant == COMPILED else network


class _WithoutKernels(nn.Module):
    """A network whose graphs and convs run in plain PyTorch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with triton_kernels(False):
            return self.network(images)


def measure_with_parallel_builds(jobs: Sequence[tuple[Case, str]], options: argparse.Namespace) -> Iterator[list[Row]]:
    """Build several cases at once and measure them one by one; yield the rows of each case when it is done."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, (os.cpu_count() or 1) // len(jobs))))
    with tempfile.NamedTemporaryFile() as lock_file, ThreadPoolExecutor(len(jobs)) as pool:
        futures = {
            pool.submit(measure, *job, subjects(*job, options), options.rounds, options.tf32, lock_file.name): job
            for job in jobs
        }
        for future in as_completed(futures):
            case, mode = futures[future]
            yield [{**case.describe(), "mode": mode, **row} for row in future.result()]


def measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool, lock_file: str) -> list[Row]:
    """Return a row for every subject; the row of a subject that failed has an ``error``.

    Args:
        case: network and load.
        mode: ``"inference"`` or ``"training"``.
        names: subjects, see :func:`build`.
        rounds: how often each is timed.
        tf32: whether products in float32 may run as TF32.
        lock_file: file shared by the processes: a shared lock for building, an exclusive one for measuring.
    """
    try:
        return in_fresh_process(_measure, "default", case, mode, names, rounds, tf32, lock_file)
    except Exception as error:  # the process died: it ran out of memory, or an error left the device unusable
        return [{"subject": CRASHED, "error": _format_error(error)}]


def _measure(case: Case, mode: str, names: list[str], rounds: int, tf32: bool, lock_file: str) -> list[Row]:
    case.start()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    to_compile = [name for name in names if COMPILED in name]
    compiled, failed_compiled = _prepare(case, mode, to_compile)
    with _lock(lock_file, fcntl.LOCK_SH):
        eager, failed_eager = _prepare(case, mode, [name for name in names if name not in to_compile])
    with _lock(lock_file, fcntl.LOCK_EX):
        # alone on the GPU, they may have enough memory
        retried, failed = _prepare(case, mode, [*failed_compiled, *failed_eager])
        ready = {**eager, **compiled, **retried}
        peaks = {name: _measure_peak(*ready[name], case) for name in ready if not _uses_cuda_graph(name)}
        calls = {name: subject for name, (subject, _) in ready.items()}
        calls[PRODUCTS] = products = build_subjects(case, mode, [], networks.build)[PRODUCTS]
        rows = _time_subjects(calls, case, rounds, peaks, products.flops, product_rate(case))
    return [{"subject": name, "error": _format_error(error)} for name, error in failed.items()] + rows


@contextmanager
def _lock(file: str, operation: int) -> Iterator[None]:
    with open(file) as lock:
        fcntl.flock(lock, operation)
        yield


def _prepare(
    case: Case, mode: str, names: list[str]
) -> tuple[dict[str, tuple[Subject, nn.Module]], dict[str, Exception]]:
    """Return the subjects that are ready, with their networks, and the exceptions of those that failed."""
    ready, failed = {}, {}
    for name in names:
        try:
            ready[name] = _build_and_warm_up(case, mode, name)
        except Exception as error:
            failed[name] = error.with_traceback(None)  # the traceback would keep the tensors alive
        if case.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
    return ready, failed


def _build_and_warm_up(case: Case, mode: str, name: str) -> tuple[Subject, nn.Module]:
    network = build(case, name, mode == "training")
    subject = make_call(network, mode, case.images(), case.torch_dtype)
    for _ in range(_WARMUP):
        subject()
    network.zero_grad(set_to_none=True)  # gradients count as memory of the step, not of the loaded model
    return (_capture(subject, network) if CAPTURED in name else subject), network


def _capture(subject: Subject, network: nn.Module) -> Subject:
    """Capture the subject in a CUDA graph, whose replay has no launch overhead on the host."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # PyTorch requires a warm-up on a side stream before capture
        subject()
    torch.cuda.current_stream().wait_stream(stream)
    network.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        subject()
    return partial(_replay, graph, subject)


def _replay(graph: torch.cuda.CUDAGraph, subject: Subject) -> None:
    """Replay the graph; ``subject`` is an argument only to keep alive the tensors that the graph reads."""
    graph.replay()


def _uses_cuda_graph(name: str) -> bool:
    """Whether the subject runs as a CUDA graph, whose memory is allocated before the measurement."""
    return name == COMPILED_GRAPHS or CAPTURED in name


def _measure_peak(subject: Subject, network: nn.Module, case: Case) -> float:
    peak = peak_beyond(subject, case.device) / MIB
    network.zero_grad(set_to_none=True)
    return peak


def _time_subjects(
    ready: dict[str, Subject], case: Case, rounds: int, peaks: dict[str, float], flops: int, rate: float
) -> list[Row]:
    calls = {name: partial(_call_repeatedly, subject) for name, subject in ready.items()}
    seconds = interleave(calls, rounds).seconds  # whose warm-up also refills the allocator's cache
    timings = Timings({name: [value / _CALLS_PER_TIMING for value in values] for name, values in seconds.items()})
    ours = [name for name in (EAGER, NO_KERNELS, FUSED, CAPTURED, COMPILED, COMPILED_GRAPHS, PRODUCTS) if name in ready]
    return [
        {
            **speed_row(timings, name, case, OFFICIAL),
            "share_of_product_rate": flops / timings.median(name) / rate if name in ours else None,
            "product_rate_tflops": rate / 1e12,
            "peak_mib": peaks.get(name),  # unknown for CUDA graphs, which allocate beforehand
        }
        for name in ready
    ]


def _call_repeatedly(subject: Subject) -> None:
    """Make several calls in a row, so that one is launched while the previous one still runs, as in real use."""
    for _ in range(_CALLS_PER_TIMING):
        subject()


def product_rate(case: Case) -> float:
    """Measure the device's peak rate: FLOP/s of one large square matrix product in the case's dtype."""
    size = _RATE_SIZE[case.device]
    left, right = (torch.randn(size, size, device=case.device, dtype=case.torch_dtype) for _ in range(2))
    timings = interleave({PRODUCTS: partial(torch.mm, left, right)}, rounds=5)
    return 2 * size**3 / min(timings.seconds[PRODUCTS])


def gpu_table(rows: list[Row]) -> str:
    """Format a table with a line for every subject."""
    columns = [
        *_KEYS,
        "subject",
        "ms",
        "images/s",
        f"x {OFFICIAL}",
        "speed vs products",
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


def _format_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


if __name__ == "__main__":
    main()
