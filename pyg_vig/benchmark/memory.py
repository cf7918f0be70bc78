"""Peak memory of a forward pass or training step beyond the loaded model, each subject in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import COMPILED, Build, build, call
from pyg_vig.benchmark.process import in_fresh_process
from pyg_vig.benchmark.report import Row

MIB = 1 << 20
_REPEATS = 3


def measure_memory(case: Case, mode: str, subject: str, build: Build = build) -> Row:
    """Peak beyond the loaded model in MiB: resident memory on a CPU, allocated memory on a GPU.

    Args:
        case: network and load.
        mode: ``"inference"`` or ``"training"``.
        subject: ``"eager"``, ``"fused"``, ``"compiled"``, or another that ``build`` accepts.
        build: module-level function that builds the subject.

    Example:
        >>> from pyg_vig.benchmark import Case, measure_memory
        >>> measure_memory(Case("vig_nano", batch=2, size=32, threads=1), "inference", "fused")["peak_mib"] < 50
        True
    """
    peak = in_fresh_process(_measure, "default", case, mode, subject, build)
    return {**case.describe(), "mode": mode, "subject": subject, "peak_mib": peak}


def _measure(case: Case, mode: str, subject: str, build: Build) -> float:
    case.start()
    network = build(case, subject, mode == "training")

    def run(batch: int) -> None:
        call(network, mode, case.images(batch), case.torch_dtype)()

    def peak() -> float:
        network.zero_grad(set_to_none=True)  # gradients belong to the step, not to the loaded model
        return peak_beyond(lambda: run(case.batch), case.device) / MIB

    # Loads kernels and thread pools (batch norm in training needs two images), and compiles for the very batch size.
    run(case.batch if subject == COMPILED else 2)
    # Pages of the libraries that the kernel took back come in again during a run and count: a median leaves them out.
    return median(peak() for _ in range(_REPEATS))


def peak_beyond(run: Callable[[], object], device: str = "cpu") -> float:
    """Peak bytes that ``run`` allocates beyond what the process held before.

    Example:
        >>> import torch
        >>> from pyg_vig.benchmark import peak_beyond
        >>> peak_beyond(lambda: torch.ones(32 << 20)) >= 100 << 20  # of 128 MiB
        True
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    _trim()
    _reset_peak()
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Resident memory now (``VmRSS``) or at its peak (``VmHWM``), in bytes.

    Not ``resource.getrusage``: its ``ru_maxrss`` is inherited, so a child starts at the peak of its parent.
    """
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}: memory is measured on Linux only")
    return int(found[1]) * 1024


def _reset_peak() -> None:
    """Let ``VmHWM`` start anew from here, below what loading the model took for a moment."""
    Path("/proc/self/clear_refs").write_text("5")


def _trim() -> None:
    """Give free memory back to the kernel, so that what the run takes is seen to grow."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
