"""A graph that need not fit into memory: `python examples/large_graph.py --nodes 200000`.

Training uses mini-batches of nodes with sampled neighbours: PyG's NeighborLoader if pyg-lib or torch_sparse is
installed, otherwise an equivalent in plain PyTorch that samples with replacement, as in GraphSAGE. Inference uses all
neighbours: block by block and, within a block, a chunk of nodes at a time, reading features from one file and writing
them to the next. The result is exactly that of the network on the whole graph, for convs whose messages depend only on
the features of both ends of an edge, as ours do. Data: a generated graph of eight groups with edges mostly within the
groups or, with --root, Cora with its standard split.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from arguments import at_least
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid
from torch_geometric.loader import NeighborLoader
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE
from tqdm import tqdm

from pyg_vig.graph import Layout, sorted_edges
from pyg_vig.nn import GraphEncoder

PUBLISHED = "GraphSAGE's sampling: none on this split; GCN on the whole graph 81.5"


def generate_graph(nodes: int) -> Data:
    """Generate a graph of eight groups; the group shows little in a node's own features, more in its neighbours'."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(nodes) % 8
    target = torch.arange(nodes).repeat_interleave(10)
    offset = torch.randint(nodes // 8, (10 * nodes,), generator=generator) * 8  # to a member of the same group
    offset += torch.rand(10 * nodes, generator=generator).lt(0.3) * torch.randint(8, (10 * nodes,), generator=generator)
    x = F.one_hot(y, 8) + 1.5 * torch.randn(nodes, 8, generator=generator)
    split_value = torch.rand(nodes, generator=generator)
    edges = torch.stack([(target + offset) % nodes, target])
    return Data(x=x, y=y, edge_index=edges, train_mask=split_value < 0.2, test_mask=split_value >= 0.5)


def batches(data: Data, sizes: list[int], batch_size: int) -> Iterator[Data]:
    """Yield mini-batches: labelled nodes first, then the neighbours sampled for them."""
    if WITH_PYG_LIB or WITH_TORCH_SPARSE:
        yield from NeighborLoader(data, sizes, data.train_mask, batch_size=batch_size, shuffle=True)
        return
    source, ptr = to_csr(data)
    labelled = data.train_mask.nonzero().flatten()
    for seeds in labelled[torch.randperm(len(labelled))].split(batch_size):
        nodes, edges = sample(source, ptr, seeds, sizes)
        yield Data(x=data.x[nodes], y=data.y[nodes], edge_index=edges, batch_size=len(seeds))


def to_csr(data: Data) -> tuple[Tensor, Tensor]:
    """Return the edges in CSR form by target: sources, and the offsets at which those of each node begin."""
    edges = sorted_edges(data.edge_index, data.num_nodes).as_tensor()
    return edges[0], F.pad(edges[1].bincount(minlength=data.num_nodes).cumsum(0), (1, 0))


def sample(source: Tensor, ptr: Tensor, seeds: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Sample a subgraph: its nodes, seeds first, and its edges as positions among these nodes."""
    frontier, sampled = seeds, []
    for size in sizes:
        degree = ptr[frontier + 1] - ptr[frontier]
        frontier, degree = frontier[degree > 0], degree[degree > 0]
        positions = ptr[frontier].unsqueeze(1) + (torch.rand(len(frontier), size) * degree.unsqueeze(1)).long()
        sampled.append(torch.stack([source[positions.flatten()], frontier.repeat_interleave(size)]))
        frontier = sampled[-1][0].unique()
    edges = torch.cat(sampled, dim=1).unique(dim=1)
    others = edges.unique()
    nodes = torch.cat([seeds, others[~torch.isin(others, seeds)]])
    ordered, order = nodes.sort()
    return nodes, order[torch.searchsorted(ordered, edges.contiguous())]


def train(model: GraphEncoder, data: Data, options: argparse.Namespace) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=5e-4)
    model.train()
    for _ in (bar := tqdm(range(options.epochs), desc="epochs")):
        for batch in batches(data, [options.neighbors] * options.depth, options.batch_size):
            optimizer.zero_grad()
            out = model(F.dropout(batch.x, options.drop_input), batch.edge_index)[: batch.batch_size]
            loss = F.cross_entropy(out, batch.y[: batch.batch_size])
            loss.backward()
            optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


@torch.no_grad()
def infer(model: GraphEncoder, features: np.ndarray, edges: tuple[Tensor, Tensor], folder: Path, chunk: int) -> Tensor:
    """Return the scores of all nodes, with at most one chunk of nodes and their neighbours in memory."""
    model.eval()
    size = len(features)
    chunks = [(first, min(first + chunk, size)) for first in range(0, size, chunk)]
    x = write_memmap(folder / "embedded", size, (model.embed(read_rows(features, slice(*bounds))) for bounds in chunks))
    for i, block in enumerate(tqdm(model.blocks, desc="blocks")):
        x = write_memmap(folder / f"block{i}", size, (apply_block(block, x, *bounds, *edges) for bounds in chunks))
    return torch.cat([model.head(read_rows(x, slice(*bounds))) for bounds in chunks])


def apply_block(block: nn.Module, x: np.ndarray, first: int, last: int, source: Tensor, ptr: Tensor) -> Tensor:
    """Apply the block to the nodes from ``first`` to ``last``, using their features and those of their neighbours."""
    target = torch.arange(last - first).repeat_interleave(ptr[first + 1 : last + 1] - ptr[first:last])
    neighbors, inverse = source[ptr[first] : ptr[last]].unique(return_inverse=True)
    nodes = torch.cat([read_rows(x, slice(first, last)), read_rows(x, neighbors.numpy())])
    edges = sorted_edges(torch.stack([inverse + last - first, target]), len(nodes))
    return block(nodes, Layout.from_equal(1, len(nodes)).with_edges(edges))[: last - first]


def read_rows(x: np.ndarray, index: slice | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(x[index]))


def write_memmap(file: Path, count: int, parts: Iterator[Tensor]) -> np.ndarray:
    """Write the parts to a file one after the other; return it as a memory-mapped array."""
    array, first = None, 0
    for part in parts:
        if array is None:
            array = np.lib.format.open_memmap(file, "w+", np.float32, (count, part.size(1)))
        array[first : first + len(part)] = part
        first += len(part)
    return array


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of Cora/, PyG's Planetoid (default: generate a graph)")
    parser.add_argument("--nodes", type=at_least(8), default=200_000, help="number of nodes of the generated graph")
    parser.add_argument("--conv", default="gin", help="conv of pyg_vig")
    parser.add_argument("--hidden", type=at_least(1), default=32)
    parser.add_argument("--depth", type=at_least(1), default=2)
    parser.add_argument("--neighbors", type=at_least(1), default=10, help="sampled neighbours per node")
    parser.add_argument("--batch-size", type=at_least(1), default=1024)
    parser.add_argument("--epochs", type=at_least(1), default=3)
    parser.add_argument("--drop-input", type=float, default=0.0)
    parser.add_argument("--chunk", type=at_least(1), default=20_000, help="nodes per chunk in inference")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    data = NormalizeFeatures()(Planetoid(options.root, "Cora")[0]) if options.root else generate_graph(options.nodes)
    model = GraphEncoder(
        data.num_features,
        options.hidden,
        int(data.y.max()) + 1,
        depth=options.depth,
        conv=options.conv,
        pool=None,
        norm=None,
        drop_rate=0.5,
        fc=False,
        ffn=False,
    )
    train(model, data, options)
    with tempfile.TemporaryDirectory() as folder:
        features = write_memmap(Path(folder) / "features", data.num_nodes, iter(data.x.split(options.chunk)))
        logits = infer(model, features, to_csr(data), Path(folder), options.chunk)
    correct = logits.argmax(1) == data.y
    name = "Cora" if options.root else f"generated graph of {data.num_nodes:,} nodes"
    print(f"{name}, {options.conv}: test accuracy {correct[data.test_mask].double().mean():.1%}")
    if options.root:
        print(f"published: {PUBLISHED}")


if __name__ == "__main__":
    main()
