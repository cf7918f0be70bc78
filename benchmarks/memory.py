"""Peak memory of a forward pass or training step beyond the loaded model, each subject in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.case import Case
from benchmarks.networks import build, infer, training_step
from benchmarks.process import in_fresh_process

Row = dict[str, Any]
MIB = 1 << 20
_REPEATS = 3


def measure_memory(case: Case, mode: str, subject: str) -> Row:
    """Peak beyond the loaded model in MiB: resident memory on a CPU, allocated memory on a GPU."""
    peak = in_fresh_process(_measure, "default", case, mode, subject)
    return {**case.describe(), "mode": mode, "subject": subject, "peak_mib": peak}


def _measure(case: Case, mode: str, subject: str) -> float:
    case.start()
    network = build(case, subject, training=mode == "training")

    def run(batch: int) -> None:
        images = case.images(batch)
        if mode == "inference":
            infer(network, images.to(case.torch_dtype))
        else:
            training_step(network, images, torch.zeros(batch, dtype=torch.int64, device=case.device), case.torch_dtype)

    def peak() -> float:
        network.zero_grad(set_to_none=True)  # gradients belong to the step, not to the loaded model
        return peak_beyond(lambda: run(case.batch), case.device) / MIB

    run(2)  # loads kernels and thread pools; batch norm in training needs two images
    # Pages of the libraries that the kernel took back come in again during a run and count: a median leaves them out.
    return median(peak() for _ in range(_REPEATS))


def peak_beyond(run: Callable[[], object], device: str = "cpu") -> float:
    """Bytes that ``run`` takes at its peak beyond what the process holds before."""
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
