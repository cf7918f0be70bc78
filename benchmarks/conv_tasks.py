"""Five data sets behind one interface: training batches, test batches, and a network for any conv."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Subset
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid, TUDataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import degree

import pyg_vig
from pyg_vig.nn import GraphEncoder
from pyg_vig.transforms import ImageGraphDataset, ToSuperpixels

_HIDDEN, _DEPTH, _POINTS, _BATCH = 32, 2, 128, 32


@dataclass(frozen=True)
class Batch:
    """Inputs of the network, and the classes of all or of selected ``rows`` of its output."""

    inputs: dict[str, Any]
    y: Tensor
    rows: Tensor | None = None

    def logits(self, model: nn.Module) -> Tensor:
        """Return the logits of the rows."""
        output = model(**self.inputs)
        return output if self.rows is None else output[self.rows]


@dataclass(frozen=True)
class Task:
    """A data set and a builder of networks for it; ``training_batches()`` yields batches indefinitely."""

    name: str
    build: Callable[[str], nn.Module]
    training_batches: Callable[[], Iterator[Batch]]
    test_batches: Sequence[Batch]


def cora(root: Path) -> Task:
    """Classify papers (Cora): given edges, one output per node, standard split."""
    data = Planetoid(str(root), "Cora")[0]

    def batch(x: Tensor, mask: Tensor) -> Batch:
        return Batch({"x": x, "edge_index": data.edge_index}, data.y[mask], mask)

    def training_batches() -> Iterator[Batch]:
        while True:
            yield batch(F.dropout(data.x, 0.6), data.train_mask)

    options = {"pool": None, "fc": False, "ffn": False, "norm": None, "drop_rate": 0.5}
    return Task("Cora", _encoder(data.num_features, 7, **options), training_batches, [batch(data.x, data.test_mask)])


def proteins(root: Path) -> Task:
    """Tell enzymes from other proteins (PROTEINS): given edges, one output per graph, first of the published splits."""
    graphs = list(TUDataset(str(root / "TU"), "PROTEINS", use_node_attr=True))
    x = torch.cat([graph.x for graph in graphs])
    for graph in graphs:
        log_degree = degree(graph.edge_index[1], graph.num_nodes).log1p().unsqueeze(1)
        graph.x = torch.cat([(graph.x - x.mean(0)) / x.std(0), log_degree], dim=1)
    index_lines = [
        (root / "TU/splits_dwivedi" / f"PROTEINS_full_{part}.index").read_text().split()[0]
        for part in ("train", "test")
    ]
    train, test = ([graphs[int(i)] for i in line.split(",")] for line in index_lines)
    return _graph_task("PROTEINS", train, test, graphs[0].num_features, 2)


def modelnet(root: Path) -> Task:
    """Classify shapes (ModelNet10): 128 points, dynamic k-NN graphs; official split, a third of the test shapes."""
    parts = {}
    for part in ("train", "test"):
        with np.load(root / "ModelNet10" / f"{part}.npz") as file:
            parts[part] = torch.from_numpy(file["pos"]).float(), torch.from_numpy(file["y"]).long()

    def batch(pos: Tensor, y: Tensor) -> Batch:
        return Batch({"x": pos[:, :_POINTS].flatten(0, 1), "batch_size": len(pos)}, y)

    def training_batches() -> Iterator[Batch]:
        pos, y = parts["train"]
        while True:
            for rows in torch.randperm(len(y)).split(_BATCH)[:-1]:
                yield batch(pos[rows][:, torch.randperm(pos.size(1))], y[rows])

    test_batches = [batch(pos, y) for pos, y in zip(*(part[::3].split(_BATCH) for part in parts["test"]), strict=True)]
    return Task("ModelNet10", _encoder(3, 10, k=9, pool="max", jumping="cat"), training_batches, test_batches)


def superpixels(root: Path) -> Task:
    """Classify clothes (Fashion-MNIST) as graphs of adjacent superpixels: the first 2,000 images, 1,000 for testing."""
    from torchvision.datasets import FashionMNIST

    train, test = (
        ImageGraphDataset(
            root / "superpixels", Subset(FashionMNIST(root, train=training), range(count)), ToSuperpixels(75)
        )
        for training, count in ((True, 2000), (False, 1000))
    )
    return _graph_task("Fashion-MNIST superpixels", train, test, train.num_features, 10)


def digits(root: Path) -> Task:
    """Classify scikit-learn's handwritten digits with a two-block ``vig_nano``; a random fifth is the test set."""
    pixels, classes = load_digits(return_X_y=True)
    images = F.interpolate(torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 8 - 1, (32, 32), mode="bilinear")
    y = torch.from_numpy(classes).long()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    test_rows, train_rows = order.split([len(y) // 5, len(y) - len(y) // 5])

    def training_batches() -> Iterator[Batch]:
        while True:
            for rows in train_rows[torch.randperm(len(train_rows))].split(_BATCH)[:-1]:
                yield Batch({"images": images[rows]}, y[rows])

    def build(conv: str) -> nn.Module:
        return pyg_vig.create_model("vig_nano", conv=conv, in_channels=1, depth=_DEPTH)

    return Task("digits", build, training_batches, [Batch({"images": images[test_rows]}, y[test_rows])])


TASKS = {"cora": cora, "proteins": proteins, "modelnet": modelnet, "superpixels": superpixels, "digits": digits}


def _encoder(in_channels: int, classes: int, **options: Any) -> Callable[[str], nn.Module]:
    return lambda conv: GraphEncoder(in_channels, _HIDDEN, classes, depth=_DEPTH, conv=conv, **options)


def _graph_task(name: str, train: Sequence[Data], test: Sequence[Data], in_channels: int, classes: int) -> Task:
    """Build the task for graphs that have edges and one label each."""

    def batch(graphs: Any) -> Batch:
        inputs = {"x": graphs.x, "edge_index": graphs.edge_index, "batch": graphs.batch}
        return Batch(inputs | {"batch_size": graphs.num_graphs}, graphs.y)

    def training_batches() -> Iterator[Batch]:
        while True:
            for graphs in DataLoader(train, batch_size=_BATCH, shuffle=True, drop_last=True):
                yield batch(graphs)

    test_batches = [batch(graphs) for graphs in DataLoader(test, batch_size=256)]
    return Task(name, _encoder(in_channels, classes, jumping="cat"), training_batches, test_batches)
