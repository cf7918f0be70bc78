"""Classify point clouds: `python examples/point_clouds.py --root DATA`.

ModelNet10, official split, 512 points per shape: `DATA/{train,test}.npz` with `pos` (N, 512, 3), `y` and `classes`. A
GraphEncoder with dynamic k-NN graphs or, for comparison (--model dgcnn), PyG's Dynamic Graph CNN with the same head and
training. In training, every shape is a random subset of its points; in the test, all its points are split into sets of
that size and their scores averaged, so that the point density is the same as in training. The network of the last epoch
is reported; test accuracy and CPU time spent on training are printed after every epoch. Without --root, spheres, boxes
and rings are generated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from arguments import at_least
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn import MLP, EdgeConv as PyGEdgeConv
from tqdm import tqdm

from pyg_vig.benchmark import provenance, write
from pyg_vig.graph import knn_graph
from pyg_vig.nn import GraphEncoder

PUBLISHED = "VoxNet 92.0, ECC 90.8"


class DGCNN(nn.Module):
    """Point features as in PyG's DGCNN: the concatenated outputs of two dynamic edge convolutions."""

    def __init__(self, out_channels: int, k: int):
        super().__init__()
        self.k = k
        self.convs = nn.ModuleList(PyGEdgeConv(MLP(widths), aggr="max") for widths in ([6, 64, 64, 64], [128, 128]))
        self.join = nn.Linear(64 + 128, out_channels)

    def forward(self, x: Tensor, batch_size: int) -> Tensor:
        batch, outputs = torch.arange(batch_size, device=x.device).repeat_interleave(len(x) // batch_size), []
        for conv in self.convs:
            x = conv(x, knn_graph(x, self.k, batch, loop=False).as_tensor())
            outputs.append(x)
        return self.join(torch.cat(outputs, dim=1))


class PointCloudNetwork(nn.Module):
    """Point features, max pooling over the cloud, and two linear layers."""

    def __init__(self, points: nn.Module, width: int, classes: int):
        super().__init__()
        self.points = points
        self.norm = nn.BatchNorm1d(width)
        self.head = MLP([width, 256, classes], dropout=0.5)

    def forward(self, pos: Tensor) -> Tensor:
        x = self.norm(self.points(pos.flatten(0, 1), batch_size=len(pos))).relu()
        return self.head(x.unflatten(0, (len(pos), -1)).amax(1))


def build(classes: int, options: argparse.Namespace) -> PointCloudNetwork:
    width = 8 * options.hidden
    if options.model == "dgcnn":
        return PointCloudNetwork(DGCNN(width, options.k), width, classes)
    encoder = GraphEncoder(
        3,
        options.hidden,
        width,
        depth=options.depth,
        conv=options.conv,
        k=options.k,
        rebuild_every=2,
        pool=None,
        jumping="cat",
        fc=False,
        ffn=False,
    )
    return PointCloudNetwork(encoder, width, classes)


def load(root: Path | None) -> dict[str, TensorDataset]:
    if root is None:
        return {"train": generate_shapes(300, seed=0), "test": generate_shapes(60, seed=1)}
    parts = {}
    for part in ("train", "test"):
        with np.load(root / f"{part}.npz") as file:
            pos, y = torch.from_numpy(file["pos"]).float(), torch.from_numpy(file["y"]).long()
        parts[part] = TensorDataset(pos, y)
    return parts


def generate_shapes(count: int, seed: int, points: int = 64) -> TensorDataset:
    """Generate spheres, surfaces of boxes, and rings."""
    generator = torch.Generator().manual_seed(seed)
    noise, y = torch.randn(count, points, 3, generator=generator), torch.arange(count) % 3
    sphere = F.normalize(noise, dim=-1)
    box = sphere / sphere.abs().amax(-1, keepdim=True) / 1.5
    ring = F.normalize(noise * torch.tensor([1.0, 1.0, 0.0]), dim=-1) + 0.1 * sphere
    shapes = torch.stack([sphere, box, ring])
    return TensorDataset(shapes[y, torch.arange(count)], y)


def augment(pos: Tensor, points: int) -> Tensor:
    """Take a random subset of the points, scaled along each axis and shifted at random."""
    keep = torch.rand(pos.shape[:2]).argsort(1)[:, :points]
    pos = pos.gather(1, keep.unsqueeze(-1).expand(-1, -1, 3))
    return pos * torch.empty(len(pos), 1, 3).uniform_(0.75, 1.33) + torch.empty(len(pos), 1, 3).uniform_(-0.1, 0.1)


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset, points: int, device: torch.device) -> float:
    model.eval()
    correct = 0
    for pos, y in DataLoader(data, batch_size=32):
        subsets = [subset for subset in pos.to(device).split(points, dim=1) if subset.size(1) == points]
        log_probabilities = sum(model(subset).log_softmax(1) for subset in subsets)
        correct += int((log_probabilities.argmax(1).cpu() == y).sum())
    return correct / len(data)


def train(
    model: nn.Module, parts: dict[str, TensorDataset], options: argparse.Namespace, device: torch.device
) -> list[dict[str, float]]:
    """Train; return, for every epoch, the minutes of training so far and the test accuracy."""
    loader = DataLoader(parts["train"], batch_size=32, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = min(len(loader), options.batches or len(loader))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=options.epochs * steps)
    curve: list[dict[str, float]] = []
    results, seconds = provenance(vars(options)) | {"curve": curve}, 0.0
    for epoch in range(options.epochs):
        model.train()
        start = time.process_time()
        for _, (pos, y) in zip(bar := tqdm(range(steps), desc=f"epoch {epoch + 1}"), loader, strict=False):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(augment(pos, options.points).to(device)), y.to(device), label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
        seconds += time.process_time() - start
        curve.append({"minutes": seconds / 60, "accuracy": accuracy(model, parts["test"], options.points, device)})
        print(f"epoch {epoch + 1}: test accuracy {curve[-1]['accuracy']:.2%} after {seconds / 60:.1f} minutes")
        if options.output:
            write(options.output, results)
    return curve


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of train.npz and test.npz (default: generate shapes)")
    parser.add_argument("--model", choices=["encoder", "dgcnn"], default="encoder")
    parser.add_argument("--conv", default="edge", help="conv of pyg_vig, or class name of a PyG conv")
    parser.add_argument("--hidden", type=at_least(1), default=64)
    parser.add_argument("--depth", type=at_least(1), default=4)
    parser.add_argument("--k", type=at_least(1), default=16)
    parser.add_argument("--points", type=at_least(1), default=128, help="points per shape in training")
    parser.add_argument("--epochs", type=at_least(1), default=30)
    parser.add_argument("--batches", type=at_least(1), help="batches per epoch (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the accuracy of every epoch here")
    options = parser.parse_args(arguments)
    options.shapes = "ModelNet10" if options.root else "generated shapes"
    torch.manual_seed(options.seed)
    parts = load(options.root)
    options.points = min(options.points, parts["test"].tensors[0].size(1))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(int(parts["train"].tensors[1].max()) + 1, options).to(device)
    test_accuracy = train(model, parts, options, device)[-1]["accuracy"]
    name = f"{options.model} ({options.conv})" if options.model == "encoder" else options.model
    print(f"{options.shapes}, {name}: test accuracy {test_accuracy:.1%}")
    if options.root:
        print(f"published on ModelNet10: {PUBLISHED}")


if __name__ == "__main__":
    main()
