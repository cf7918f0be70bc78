"""Shapes from points: `python examples/point_clouds.py --root DATA`.

ModelNet10, official split, 512 points a shape: `DATA/{train,test}.npz` with `pos` (N, 512, 3), `y` and `classes`. A
GraphEncoder with dynamic k-NN graphs, and beside it (--model dgcnn) a Dynamic Graph CNN out of PyG's EdgeConv, trained
the same way. The network of the last epoch is tested; the curve is printed epoch by epoch. Without --root, spheres,
boxes and rings.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn import MLP
from torch_geometric.nn import EdgeConv as PyGEdgeConv
from tqdm import tqdm

from pyg_vig.graph import knn_graph
from pyg_vig.nn import GraphEncoder

PUBLISHED = "VoxNet 92.0, ECC 90.8"


class DGCNN(nn.Module):
    """Three dynamic edge convolutions with PyG's parts, all their outputs pooled together."""

    def __init__(self, out_channels: int, hidden: int, k: int):
        super().__init__()
        self.k = k
        widths = [3, hidden, hidden, 2 * hidden]
        self.convs = nn.ModuleList(PyGEdgeConv(MLP([2 * i, o, o]), aggr="max") for i, o in pairwise(widths))
        self.head = MLP([sum(widths[1:]), 256, out_channels], dropout=0.5)

    def forward(self, x: Tensor, batch_size: int) -> Tensor:
        batch, outputs = torch.arange(batch_size, device=x.device).repeat_interleave(len(x) // batch_size), []
        for conv in self.convs:
            x = conv(x, knn_graph(x, self.k, batch, loop=False).as_tensor())
            outputs.append(x)
        return self.head(torch.cat(outputs, dim=1).unflatten(0, (batch_size, -1)).amax(1))


def build(name: str, classes: int, options: argparse.Namespace) -> nn.Module:
    if name == "dgcnn":
        return DGCNN(classes, options.hidden, options.k)
    return GraphEncoder(
        3,
        options.hidden,
        classes,
        depth=options.depth,
        conv=options.conv,
        k=options.k,
        rebuild_every=2,
        pool="max",
        jumping="cat",
        drop_rate=0.5,
        drop_path_rate=0.1,
    )


def load(root: str | None) -> dict[str, TensorDataset]:
    if root is None:
        return {"train": generated(300, seed=0), "test": generated(60, seed=1)}
    parts = {}
    for part in ("train", "test"):
        with np.load(Path(root) / f"{part}.npz") as file:
            pos, y = torch.from_numpy(file["pos"]).float(), torch.from_numpy(file["y"]).long()
        parts[part] = TensorDataset(pos, y)
    return parts


def generated(count: int, seed: int, points: int = 64) -> TensorDataset:
    """Spheres, surfaces of boxes, and rings."""
    generator = torch.Generator().manual_seed(seed)
    gauss, y = torch.randn(count, points, 3, generator=generator), torch.arange(count) % 3
    sphere = F.normalize(gauss, dim=-1)
    box = sphere / sphere.abs().amax(-1, keepdim=True) / 1.5
    ring = F.normalize(gauss * torch.tensor([1.0, 1.0, 0.0]), dim=-1) + 0.1 * sphere
    shapes = torch.stack([sphere, box, ring])
    return TensorDataset(shapes[y, torch.arange(count)], y)


def augment(pos: Tensor, points: int) -> Tensor:
    """A random choice of the points, scaled and moved a little; z is up, so the shape may turn about it."""
    keep = torch.rand(pos.shape[:2]).argsort(1)[:, :points]
    pos = pos.gather(1, keep.unsqueeze(-1).expand(-1, -1, 3))
    angle = 2 * torch.pi * torch.rand(len(pos))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    pos = torch.cat([pos[..., :2] @ turn, pos[..., 2:]], dim=-1)
    return pos * torch.empty(len(pos), 1, 3).uniform_(0.8, 1.25) + torch.empty(len(pos), 1, 3).uniform_(-0.1, 0.1)


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset, device: torch.device) -> float:
    model.eval()
    correct = 0
    for pos, y in DataLoader(data, batch_size=32):
        out = model(pos.flatten(0, 1).to(device), batch_size=len(pos))
        correct += int((out.argmax(1).cpu() == y).sum())
    return correct / len(data)


def train(
    model: nn.Module, parts: dict[str, TensorDataset], options: argparse.Namespace, device: torch.device
) -> float:
    loader = DataLoader(parts["train"], batch_size=32, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = min(len(loader), options.batches or len(loader))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=options.epochs * steps)
    for epoch in range(options.epochs):
        model.train()
        for _, (pos, y) in zip(bar := tqdm(range(steps), desc=f"epoch {epoch + 1}"), loader, strict=False):
            optimizer.zero_grad()
            out = model(augment(pos, options.points).flatten(0, 1).to(device), batch_size=len(pos))
            loss = F.cross_entropy(out, y.to(device), label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
        tested = accuracy(model, parts["test"], device)
        print(f"epoch {epoch + 1}: test accuracy {tested:.2%}")
    return tested


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of train.npz and test.npz; generated shapes if not given")
    parser.add_argument("--model", choices=["encoder", "dgcnn"], default="encoder")
    parser.add_argument("--conv", default="edge", help="conv of ours, or a PyG class name")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--points", type=int, default=256, help="points of a shape in training; all in the test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batches", type=int, help="batches an epoch, for a trial")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    parts = load(options.root)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(options.model, int(parts["train"].tensors[1].max()) + 1, options).to(device)
    tested = train(model, parts, options, device)
    name = f"{options.model} ({options.conv})" if options.model == "encoder" else options.model
    print(f"{'ModelNet10' if options.root else 'generated shapes'}, {name}: test accuracy {tested:.1%}")
    if options.root:
        print(f"published on ModelNet10: {PUBLISHED}")


if __name__ == "__main__":
    main()
