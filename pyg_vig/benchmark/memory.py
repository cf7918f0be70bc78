"""Peak memory of a forward pass or training step beyond the loaded model, measured in a fresh process each."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import COMPILED, Build, build, make_call
from pyg_vig.benchmark.process import in_fresh_process
from pyg_vig.benchmark.report import Row

MIB = 1 << 20
_REPEATS = 3


def measure_memory(case: Case, mode: str, subject: str, build: Build = build) -> Row:
    """Measure the peak memory beyond the loaded model in MiB: resident memory on a CPU, allocated memory on a GPU.

    Args:
        case: network and input.
        mode: ``"inference"`` or ``"training"``.
        subject: ``"eager"``, ``"fused"``, ``"compiled"``, or another name that ``build`` accepts.
        build: module-level function that builds the network.

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
        make_call(network, mode, case.images(batch), case.torch_dtype)()

    def peak() -> float:
        network.zero_grad(set_to_none=True)  # gradients count as memory of the step, not of the model
        return peak_beyond(lambda: run(case.batch), case.device) / MIB

    # Warm up kernels and thread pools (batch norm in training needs two images), or compile for the exact batch size.
    run(case.batch if subject == COMPILED else 2)
    # Library pages evicted by the kernel may be loaded again and count as growth; the median excludes such runs.
    return median(peak() for _ in range(_REPEATS))


def peak_beyond(run: Callable[[], object], device: str = "cpu") -> float:
    """Measure the peak memory in bytes of ``run`` beyond what the process held before.

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
    before = _resident_memory("VmRSS")
    run()
    return _resident_memory("VmHWM") - before


def _resident_memory(field: str) -> int:
    """Return the current (``VmRSS``) or peak (``VmHWM``) resident memory in bytes.

    ``resource.getrusage`` is unsuitable: a child process inherits ``ru_maxrss``, and so starts at its parent's peak.
    """
    status = Path("/proc/self/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"/proc/self/status has no {field}: memory can be measured on Linux only")
    return int(match[1]) * 1024


def _reset_peak() -> None:
    """Reset ``VmHWM`` to the current resident memory, as loading the model may have had a higher peak."""
    Path("/proc/self/clear_refs").write_text("5")


def _trim() -> None:
    """Return free memory to the kernel; otherwise a run could reuse it without any measurable growth."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
