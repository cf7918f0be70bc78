"""Cost of k-NN: seconds and peak memory over the number of nodes in one graph, and over k."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.case import Case
from benchmarks.dense import dense_knn
from pyg_vig.benchmark import Timings, in_fresh_process, interleave, peak_beyond
from pyg_vig.benchmark.memory import MIB
from pyg_vig.benchmark.timing import Subject
from pyg_vig.graph import Layout, knn_table

Row = dict[str, Any]

CHANNELS = 64
NODES = (196, 784, 3136, 12544, 50176, 100_000)
NEIGHBORS = (3, 9, 18, 36, 72)
_NODES_FOR_NEIGHBORS = 3136
_FULL_MATRIX = 12544  # the whole distance matrix of more nodes fills the memory of small machines
OURS, FULL = "pyg_vig", "full matrix"


def measure_scaling(case: Case, rounds: int, largest: int = NODES[-1]) -> Iterator[Row]:
    """Rows over nodes at k = 9 (up to ``largest``), then over k at 3136 nodes."""
    cells = [("nodes", nodes, 9) for nodes in NODES if nodes <= largest]
    cells += [("k", min(_NODES_FOR_NEIGHBORS, largest), k) for k in NEIGHBORS]
    for curve, nodes, k in cells:
        for subject in (OURS, FULL) if nodes <= _FULL_MATRIX else (OURS,):
            measured = in_fresh_process(_measure, "default", case, subject, nodes, k, rounds)
            yield {"curve": curve, "nodes": nodes, "k": k, "channels": CHANNELS, "subject": subject, **measured}


def _measure(case: Case, subject: str, nodes: int, k: int, rounds: int) -> Row:
    """Seconds and peak memory of the same runs: one search of the largest set takes long enough."""
    case.start()
    search = _search(subject, nodes, k, case.device)
    _search(subject, 2 * k, k, case.device)()  # loads kernels and thread pools
    timed = partial(interleave, {subject: search}, max(1, min(rounds, 10**9 // nodes**2)), warmup=0)
    timings: list[Timings] = []
    peak = peak_beyond(lambda: timings.append(timed()), case.device) / MIB
    return {"median": timings[0].median(subject), "peak_mib": peak}


def _search(subject: str, nodes: int, k: int, device: str) -> Subject:
    x = torch.randn(nodes, CHANNELS, device=device)
    if subject == FULL:
        return partial(dense_knn, x.unsqueeze(0), k)
    return partial(knn_table, x, k, Layout.from_equal(1, nodes), cosine=True)
