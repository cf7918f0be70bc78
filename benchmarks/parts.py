"""Benchmarks of single parts: k-NN, SVGA, pooling, and every conv forward and backward, in each formulation."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor, nn

from benchmarks.case import Case
from benchmarks.dense import DenseConv, dense_knn, rolled_max
from pyg_vig.benchmark import in_fresh_process, interleave, record_products
from pyg_vig.benchmark.networks import PRODUCTS
from pyg_vig.benchmark.report import Row
from pyg_vig.benchmark.timing import Subject
from pyg_vig.graph import Layout, NeighborTable, SVGAGraph, knn_table, neighbor_max, svga_graph, to_map
from pyg_vig.nn import conv_resolver

K = 9
SHAPES = {"14 x 14 patches": (196, 192), "56 x 56 patches": (3136, 48)}  # vig_ti; first stage of pvig_ti, unreduced
CLOUD = {"cloud of 4096 points": (4096, 3)}
DENSE, OURS, DEFINITION, PYG = "dense", "pyg_vig", "pyg_vig, definition", "PyG"


def measure_parts(case: Case, rounds: int) -> list[Row]:
    """Return a row for every part, shape and formulation; ``case.model`` and ``case.size`` are ignored."""
    rows = []
    for shape, (nodes, channels) in {**SHAPES, **CLOUD}.items():
        parts: list[str] = ["knn"] if shape in CLOUD else ["knn", "svga", "pool", *PYG_CONVS]
        for part in parts:
            measured = in_fresh_process(_measure, "default", part, case, nodes, channels, rounds)
            rows += [
                {"part": part, "shape": shape, "batch": case.batch, "threads": case.threads, **row} for row in measured
            ]
    return rows


def _measure(part: str, case: Case, nodes: int, channels: int, rounds: int) -> list[Row]:
    case.start()
    x = torch.randn(case.batch, nodes, channels, device=case.device)
    if part == "knn":
        subjects_by_step = {"forward": knn_subjects(x)}
    elif part == "pool":
        subjects_by_step = {"forward": pool_subjects(x)}
    elif part == "svga":
        subjects_by_step = {"forward": svga_subjects(x)}
    else:
        subjects_by_step = {step: conv_subjects(part, x, step) for step in ("forward", "forward + backward")}
    rows = []
    for step, subjects in subjects_by_step.items():
        timings = interleave(subjects, rounds)
        for name in subjects:
            row = {"step": step, "subject": name, "median": timings.median(name)}
            row |= {"speedup": timings.speedup(name, DENSE), "share_of_products": timings.speedup(name, PRODUCTS)}
            rows.append({**row, "seconds": timings.seconds[name]})
    return rows


def knn_subjects(x: Tensor) -> dict[str, Subject]:
    """k-NN by cosine within every image, ``x`` of shape ``(B, N, C)``."""
    layout, rows = Layout.from_equal(x.size(0), x.size(1)), x.flatten(0, 1)
    subjects: dict[str, Subject] = {
        DENSE: partial(dense_knn, x, K),
        OURS: partial(knn_table, rows, K, layout, cosine=True, backend="dense"),
        PRODUCTS: partial(_similarities_per_image, x, x.new_empty(x.size(1), x.size(1))),
    }
    if x.size(2) <= 3 and importlib.util.find_spec("torch_cluster"):
        subjects["pyg_vig, torch_cluster"] = partial(knn_table, rows, K, layout, cosine=True, backend="torch_cluster")
    return subjects


def _similarities_per_image(x: Tensor, buffer: Tensor) -> None:
    """Compute only the products that k-NN needs, image by image into one buffer."""
    for image in x:
        torch.mm(image, image.mT, out=buffer)


def pool_subjects(x: Tensor) -> dict[str, Subject]:
    """Mean pooling of the nodes of every image."""
    layout, rows = Layout.from_equal(x.size(0), x.size(1)), x.flatten(0, 1)
    batch, feature_map = layout.batch_vector(x.device), x.mT.contiguous().unsqueeze(-1)
    return {
        DENSE: lambda: F.adaptive_avg_pool2d(feature_map, 1),
        OURS: lambda: layout.pool(rows),
        PYG: lambda: pyg.global_mean_pool(rows, batch),
    }


def svga_subjects(x: Tensor) -> dict[str, Subject]:
    """Maximum over SVGA neighbours on a square grid, including the construction of the graph."""
    side = math.isqrt(x.size(1))
    step = side // 7  # the published hybrids have 7 steps to the side in every stage
    layout, rows = Layout.from_grid(x.size(0), side, side), x.flatten(0, 1)
    feature_map, graph = to_map(rows, layout).contiguous(), SVGAGraph(step)
    edges = svga_graph(side, side, step, batch_size=x.size(0), device=x.device).as_tensor()
    aggregate = pyg.MaxAggregation()
    return {
        DENSE: partial(rolled_max, feature_map, step),
        OURS: lambda: neighbor_max(rows, graph(rows, layout)),
        PYG: lambda: aggregate(rows.index_select(0, edges[0]), edges[1], dim_size=rows.size(0)),
    }


def conv_subjects(name: str, x: Tensor, step: str) -> dict[str, Subject]:
    """One conv from ``C`` to ``2 C`` channels on the same k-NN graph in each formulation, and the products of ours."""
    batch, nodes, channels = x.shape
    rows, feature_map = x.flatten(0, 1), x.mT.contiguous().unsqueeze(-1)
    table = knn_table(rows, K, Layout.from_equal(batch, nodes), cosine=True)
    index = (table.index % nodes).view(batch, nodes, K)
    conv = conv_resolver(name, channels, 2 * channels, heads=4, norm="batch", act="gelu").to(x.device)
    run = _forward if step == "forward" else _forward_backward
    dense = {DENSE: (DenseConv(copy.deepcopy(conv)), feature_map, index)} if name in DENSE_CONVS else {}
    variants: dict[str, tuple[nn.Module, Tensor, Any]] = {
        **dense,
        OURS: (conv, rows, table),
        DEFINITION: (copy.deepcopy(conv), rows, table.edge_index.as_tensor()),
        PYG: (PYG_CONVS[name](channels, 2 * channels).to(x.device), rows, table.edge_index),
    }
    subjects: dict[str, Subject] = {key: partial(run, *variant) for key, variant in variants.items()}
    return {**subjects, PRODUCTS: record_products(subjects[OURS], conv.parameters())}


@torch.no_grad()  # inference mode rejects an EdgeIndex created outside of it
def _forward(conv: nn.Module, x: Tensor, graph: NeighborTable | Tensor) -> None:
    conv.eval()(x, graph)


def _forward_backward(conv: nn.Module, x: Tensor, graph: NeighborTable | Tensor) -> None:
    conv.train().zero_grad(set_to_none=True)
    conv(x.detach().requires_grad_(), graph).sum().backward()


def _mlp(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_channels, out_channels), nn.BatchNorm1d(out_channels), nn.GELU())


# PyG's conv of the same kind. Its linear layers are not grouped, and it has no max-relative conv: SAGEConv with max is
# the closest to that, and TransformerConv, with softmax and scaled products, is the closest to cross-attention.
PYG_CONVS: dict[str, Callable[[int, int], nn.Module]] = {
    "max_relative": lambda i, o: pyg.SAGEConv(i, o, aggr="max"),
    "edge": lambda i, o: pyg.EdgeConv(_mlp(2 * i, o), aggr="max"),
    "sage": lambda i, o: pyg.SAGEConv(i, o, aggr="max", project=True),
    "gin": lambda i, o: pyg.GINConv(_mlp(i, o)),
    "cross_attention": lambda i, o: pyg.TransformerConv(i, o // 4, heads=4),
}
DENSE_CONVS = ("max_relative", "edge", "sage", "gin")  # the convs published in the dense formulation
