"""Classify images as graphs of superpixels: `python examples/superpixels.py --root DATA`.

Every image becomes a graph of about 75 superpixels (mean grey value, position and size) with edges between adjacent
ones, which a GraphEncoder classifies. Data: Fashion-MNIST (DATA is the root of torchvision's FashionMNIST; the graphs
are stored there too), official split, training on the first --images images; the network of the last epoch is tested.
Without --root, scikit-learn's handwritten digits, with a random fifth as test set.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from arguments import at_least
from custom_conv import digits
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from pyg_vig.benchmark import provenance, write
from pyg_vig.nn import GraphEncoder
from pyg_vig.transforms import ImageGraphDataset, ToSuperpixels

PUBLISHED = "graph attention on 75 superpixels 83.1 (arXiv 2002.05544), ResNet-18 on the pixels 94.9"


def load_images(root: Path | None, count: int, test: int) -> tuple[Any, Any]:
    """Load training and test data: pairs (image, label) with pixels in [0, 1]."""
    if root is None:
        return tuple([((image + 1) / 2, label) for image, label in part] for part in digits(count))
    from torchvision.datasets import FashionMNIST

    parts = (FashionMNIST(root, train=True), count), (FashionMNIST(root, train=False), test)
    return tuple(torch.utils.data.Subset(data, range(min(number, len(data)))) for data, number in parts)


@torch.no_grad()
def accuracy(model: GraphEncoder, graphs: ImageGraphDataset) -> float:
    model.eval()
    correct = 0
    for batch in DataLoader(graphs, batch_size=256):
        out = model(batch.x, batch.edge_index, batch=batch.batch, batch_size=batch.num_graphs)
        correct += int((out.argmax(1) == batch.y).sum())
    return correct / len(graphs)


def train(model: GraphEncoder, graphs: ImageGraphDataset, epochs: int) -> None:
    loader = DataLoader(graphs, batch_size=64, shuffle=True, drop_last=len(graphs) > 64)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * len(loader))
    model.train()
    for _ in (bar := tqdm(range(epochs), desc="epochs")):
        for batch in loader:
            optimizer.zero_grad()
            out = model(batch.x, batch.edge_index, batch=batch.batch, batch_size=batch.num_graphs)
            loss = F.cross_entropy(out, batch.y)
            loss.backward()
            optimizer.step()
            schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="root of torchvision's FashionMNIST (default: scikit-learn's digits)")
    parser.add_argument("--conv", default="edge", help="conv of pyg_vig, or class name of a PyG conv")
    parser.add_argument("--images", type=at_least(5), default=10_000, help="number of training images")
    parser.add_argument("--test-images", type=at_least(1), default=10_000, help="number of test images, with --root")
    parser.add_argument("--superpixels", type=at_least(1), default=75)
    parser.add_argument("--hidden", type=at_least(1), default=48)
    parser.add_argument("--depth", type=at_least(1), default=4)
    parser.add_argument("--epochs", type=at_least(1), default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the result here")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    to_graph = ToSuperpixels(options.superpixels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.root or temporary) / "superpixels"
        training, test = (
            ImageGraphDataset(folder, part, to_graph)
            for part in load_images(options.root, options.images, options.test_images)
        )
    model = GraphEncoder(
        training.num_features, options.hidden, 10, depth=options.depth, conv=options.conv, jumping="cat", drop_rate=0.2
    )
    train(model, training, options.epochs)
    test_accuracy = accuracy(model, test)
    name = "Fashion-MNIST" if options.root else "digits"
    result = f"test accuracy {test_accuracy:.1%} of {len(test):,}"
    print(f"{name}, {options.conv}, {len(training):,} training images: {result}")
    if options.root:
        print(f"published, trained on all 60,000: {PUBLISHED}")
    if options.output:
        write(options.output, provenance(vars(options)) | {"accuracy": test_accuracy, "published": PUBLISHED})


if __name__ == "__main__":
    main()
