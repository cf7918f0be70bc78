"""Proteins as graphs: `python examples/graph_classification.py --root DATA --dataset PROTEINS`.

Protocol of "Benchmarking Graph Neural Networks" (https://arxiv.org/abs/2003.00982): its 10 fixed splits into 80 % for
training, 10 % for validation and 10 % for test (`DATA/splits_dwivedi/NAME_{train,val,test}.index`, one line a split);
the learning rate halves when the validation loss stalls; the epoch with the lowest validation loss is tested. DATA is
the root of PyG's TUDataset. Without --root, a set of generated rings and trees.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch_geometric.data import Data
from torch_geometric.datasets import TUDataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import barabasi_albert_graph, degree, grid
from tqdm import tqdm

from pyg_vig.nn import GraphEncoder

PUBLISHED = {"PROTEINS": "GatedGCN 76.4, GIN 74.1", "ENZYMES": "GatedGCN 65.7, GIN 65.3"}
SPLIT_NAMES = {"PROTEINS": "PROTEINS_full", "ENZYMES": "ENZYMES"}


def load(root: str | None, name: str) -> tuple[list[Data], list[dict[str, list[int]]]]:
    """Graphs with standardised features, and the splits."""
    if root is None:
        return generated(), [{"train": list(range(80)), "val": list(range(80, 100)), "test": list(range(100, 120))}]
    graphs = list(TUDataset(root, name, use_node_attr=True))
    x = torch.cat([graph.x for graph in graphs])
    for graph in graphs:
        log_degree = degree(graph.edge_index[1], graph.num_nodes).log1p().unsqueeze(1)
        graph.x = torch.cat([(graph.x - x.mean(0)) / (x.std(0) + 1e-6), log_degree], dim=1)
    lines = {
        part: (Path(root) / "splits_dwivedi" / f"{SPLIT_NAMES[name]}_{part}.index").read_text().split()
        for part in ("train", "val", "test")
    }
    splits = [{part: [int(i) for i in lines[part][fold].split(",")] for part in lines} for fold in range(10)]
    return graphs, splits


def generated() -> list[Data]:
    """Random trees with hubs, and grids."""
    torch.manual_seed(0)
    graphs = []
    for i in range(120):
        edges = grid(3, 4 + i % 5)[0] if i % 2 else barabasi_albert_graph(12 + i % 7, 1)
        nodes = int(edges.max()) + 1
        x = torch.cat([degree(edges[1], nodes).unsqueeze(1), torch.randn(nodes, 2)], dim=1)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 2])))
    return graphs


@torch.no_grad()
def evaluate(model: GraphEncoder, graphs: list[Data]) -> tuple[float, float]:
    """Loss and accuracy."""
    model.eval()
    loss, correct = 0.0, 0
    for batch in DataLoader(graphs, batch_size=256):
        out = model(batch.x, batch.edge_index, batch=batch.batch, batch_size=batch.num_graphs)
        loss += F.cross_entropy(out, batch.y, reduction="sum").item()
        correct += int((out.argmax(1) == batch.y).sum())
    return loss / len(graphs), correct / len(graphs)


def run(graphs: list[Data], split: dict[str, list[int]], options: argparse.Namespace, seed: int) -> float:
    """Train on one split; the test accuracy at the lowest validation loss."""
    torch.manual_seed(seed)
    train, val, test = ([graphs[i] for i in split[part]] for part in ("train", "val", "test"))
    classes = int(max(graph.y for graph in graphs)) + 1
    model = GraphEncoder(
        graphs[0].num_features,
        options.hidden,
        classes,
        depth=options.depth,
        conv=options.conv,
        pool="mean",
        jumping="cat",
        drop_rate=options.drop_rate,
        drop_path_rate=0.1,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=options.patience)
    best_loss, best = float("inf"), copy.deepcopy(model.state_dict())
    for _ in (bar := tqdm(range(options.epochs), desc=f"split {seed}", leave=False)):
        model.train()
        for batch in DataLoader(train, batch_size=32, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            out = model(batch.x, batch.edge_index, batch=batch.batch, batch_size=batch.num_graphs)
            F.cross_entropy(out, batch.y).backward()
            optimizer.step()
        loss, accuracy = evaluate(model, val)
        schedule.step(loss)
        bar.set_postfix(val=f"{accuracy:.1%}")
        if loss < best_loss:
            best_loss, best = loss, copy.deepcopy(model.state_dict())
        if optimizer.param_groups[0]["lr"] < 2e-5:
            break
    model.load_state_dict(best)
    return evaluate(model, test)[1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="root of PyG's TUDataset; generated graphs if not given")
    parser.add_argument("--dataset", choices=sorted(PUBLISHED), default="PROTEINS")
    parser.add_argument("--conv", default="gin", help="conv of ours, or a PyG class name")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=5, help="epochs without progress before the rate halves")
    parser.add_argument("--drop-rate", type=float, default=0.5)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--splits", type=int, default=10, help="how many of the splits to run")
    options = parser.parse_args(arguments)
    graphs, splits = load(options.root, options.dataset)
    results = torch.tensor([run(graphs, split, options, seed) for seed, split in enumerate(splits[: options.splits])])
    name = options.dataset if options.root else "generated graphs"
    spread = f" ± {100 * results.std():.1f}" if len(results) > 1 else ""
    print(f"{name}, {options.conv}: test accuracy {100 * results.mean():.1f}{spread} % over {len(results)} splits")
    if options.root:
        print(f"published on the same splits: {PUBLISHED[name]}")


if __name__ == "__main__":
    main()
