"""Cost of k-NN: seconds and peak memory over the number of nodes in one graph, and over k."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median

import torch

from benchmarks.case import Case
from benchmarks.dense import dense_knn
from pyg_vig.benchmark import in_fresh_process, interleave, peak_beyond
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.timing import Subject
from pyg_vig.graph import Layout, knn_table

CHANNELS = 64
NODES = (196, 784, 3136, 12544, 50176, 100_000)
NEIGHBORS = (3, 9, 18, 36, 72)
_NODES_FOR_K_CURVE = 3136
_MAX_NODES_FULL_MATRIX = 12544  # beyond this, the full distance matrix exhausts the memory of small machines
OURS, FULL_MATRIX = "pyg_vig", "full matrix"


def measure_scaling(case: Case, rounds: int, largest: int = NODES[-1]) -> Iterator[Row]:
    """Yield rows over nodes (up to ``largest``) at k = 9, then over k at 3136 nodes; each curve in its own process."""
    curves = {
        "nodes": [(nodes, 9) for nodes in NODES if nodes <= largest],
        "k": [(min(_NODES_FOR_K_CURVE, largest), k) for k in NEIGHBORS],
    }
    for curve, points in curves.items():
        for subject in (OURS, FULL_MATRIX):
            feasible = [(nodes, k) for nodes, k in points if subject == OURS or nodes <= _MAX_NODES_FULL_MATRIX]
            for row in in_fresh_process(_measure, "default", case, subject, feasible, rounds):
                yield {"curve": curve, "channels": CHANNELS, "subject": subject, **row}


def _measure(case: Case, subject: str, points: Sequence[tuple[int, int]], rounds: int) -> list[Row]:
    """Measure time and peak memory in the same runs, because a search of the largest set takes long.

    With a single thread, CPU time depends little on other load of the machine.
    """
    case.start()
    rows = []
    for nodes, k in points:  # ascending, so that memory left by earlier points hardly matters
        _build_search(subject, 2 * k, k, case.device)()  # loads kernels and thread pools
        search, repeats = _build_search(subject, nodes, k, case.device), max(1, min(rounds, 10**9 // nodes**2))
        cost = _measure_cost(search, repeats, case.device)
        rows.append({"nodes": nodes, "k": k, **cost})
    return rows


def _measure_cost(search: Subject, rounds: int, device: str) -> Row:
    cost: Row = {}
    cpu_seconds: list[float] = []

    def timed() -> None:
        start = time.process_time()
        search()
        cpu_seconds.append(time.process_time() - start)

    def run_all() -> None:
        cost["median"] = interleave({OURS: timed}, rounds, warmup=0).median(OURS)

    cost["peak_mib"] = peak_beyond(run_all, device) / MIB
    return {**cost, "cpu_seconds": median(cpu_seconds) if device == "cpu" else None}


def _build_search(subject: str, nodes: int, k: int, device: str) -> Subject:
    x = torch.randn(nodes, CHANNELS, device=device)
    if subject == FULL_MATRIX:
        return partial(dense_knn, x.unsqueeze(0), k)
    return partial(knn_table, x, k, Layout.from_equal(1, nodes), cosine=True)
