"""Profile of a forward pass by category: graph, aggregation, linear, rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from pyg_vig.benchmark.case import Case
from pyg_vig.benchmark.networks import FUSED, Build, block_parts, build, infer
from pyg_vig.benchmark.process import in_fresh_process
from pyg_vig.benchmark.report import Row, table

CATEGORIES = ("graph", "aggregation", "linear", "rest")
_LINEAR = {
    *("aten::linear", "aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "pyg_vig::linear"),
    *("aten::conv2d", "aten::convolution"),
}
Parts = Callable[[nn.Module], Iterable[tuple[nn.Module, nn.Module]]]  # graph builder and conv of every block


def measure_profile(
    case: Case, subject: str = FUSED, rounds: int = 8, *, build: Build = build, parts: Parts = block_parts
) -> Row:
    """Measure the milliseconds per batch by category, including the overhead of the profiler.

    Args:
        case: network and input.
        subject: ``"eager"``, ``"fused"``, or another name that ``build`` accepts. (A compiled network has no
            distinguishable parts.)
        rounds: number of forward passes to average over.
        build: module-level function that builds the network.
        parts: module-level function that returns the graph builder and conv of every block.

    Example:
        >>> from pyg_vig.benchmark import Case, measure_profile
        >>> row = measure_profile(Case("vig_nano", batch=1, size=32, threads=1), rounds=1)
        >>> list(row["milliseconds"])
        ['graph', 'aggregation', 'linear', 'rest']
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler logs every start and stop
    totals = in_fresh_process(_measure, "default", case, subject, rounds, build, parts)
    return {**case.describe(), "subject": subject, "milliseconds": totals}


def profile_table(rows: Sequence[Row]) -> str:
    """Format rows of :func:`measure_profile` as Markdown: milliseconds per batch in total and by category."""
    keys, lines = ("model", "batch", "size", "dtype", "subject"), []
    for row in rows:
        total = sum(row["milliseconds"].values())
        shares = [f"{part:.1f} ({part / total:.0%})" for part in row["milliseconds"].values()]
        lines.append([*(row[key] for key in keys), f"{total:.1f}", *shares])
    return table([*keys, "ms", *CATEGORIES], lines)


def _measure(case: Case, subject: str, rounds: int, build: Build, parts: Parts) -> dict[str, float]:
    case.start()
    network = build(case, subject, False)
    images = case.images().to(case.torch_dtype)
    infer(network, images)
    with _mark_parts(parts(network)), profile(activities=_activities(case)) as profiler:
        for _ in range(rounds):
            with record_function("forward"):  # its self time is Python between the operators
                infer(network, images)
    time_attribute = "self_cpu_time_total" if case.device == "cpu" else "self_device_time_total"
    totals = dict.fromkeys(CATEGORIES, 0.0)
    for event in profiler.events():
        totals[_category(event)] += getattr(event, time_attribute) / 1e3 / rounds  # microseconds to milliseconds
    return totals


def _activities(case: Case) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] if case.device == "cpu" else [ProfilerActivity.CPU, ProfilerActivity.CUDA]


def _category(event: Any) -> str:
    """Return the category of an operator by its innermost range; linear operators are recognised by their names."""
    linear = False
    while event is not None:
        if event.name == "part:graph":
            return "graph"
        linear = linear or event.name in _LINEAR
        if event.name in ("part:conv", "part:update"):
            return "linear" if linear else {"part:conv": "aggregation", "part:update": "rest"}[event.name]
        event = event.cpu_parent
    return "linear" if linear else "rest"


@contextmanager
def _mark_parts(parts: Iterable[tuple[nn.Module, nn.Module]]) -> Iterator[None]:
    """Mark the profiler ranges of graph builders, convs, and the layers in convs (linear, norm, activation)."""
    handles = []
    for builder, conv in parts:
        layers = [layer for name, layer in conv.named_children() if name.startswith("nn")]
        for part, modules in (("graph", [builder]), ("conv", [conv]), ("update", layers)):
            for module in modules:
                handles += _mark_module(module, f"part:{part}")
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mark_module(module: nn.Module, name: str) -> list[Any]:
    active: list[record_function] = []

    def enter(*_: Any) -> None:
        active.append(record_function(name))
        active[-1].__enter__()

    def leave(*_: Any) -> None:
        active.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
