"""PyG's convs in a Pyramid ViG: `python examples/pyramid_convs.py --root DATA`.

A small Pyramid ViG of three stages. In the first stage, patches choose their neighbours among pooled patches: a
bipartite graph, for which convs take the features as a pair (pooled patches, patches). Data: Fashion-MNIST (DATA is the
root of torchvision's FashionMNIST), official split, training on the first --images images; the network of the last
epoch is tested. Without --root, scikit-learn's handwritten digits, with a random fifth as test set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from arguments import at_least
from custom_conv import accuracy, digits, train
from torch import nn
from torch.utils.data import TensorDataset
from torch_geometric.nn import GATv2Conv, TransformerConv

import pyg_vig
from pyg_vig.benchmark import provenance, write

CONVS = {
    "GATv2Conv": lambda i, o: GATv2Conv(i, o // 4, heads=4, add_self_loops=False),  # bipartite: no self-loops
    "TransformerConv": lambda i, o: TransformerConv(i, o // 4, heads=4),
    "max_relative": "max_relative",
}
PUBLISHED = "ResNet-18 94.9, two convolutions with pooling 91.6 (its README)"


def load(root: Path | None, count: int, test: int) -> tuple[TensorDataset, TensorDataset]:
    """Load training and test images of 32 x 32 pixels in [-1, 1]."""
    if root is None:
        return digits(count)
    from torchvision.datasets import FashionMNIST

    parts = []
    for training, number in ((True, count), (False, test)):
        data = FashionMNIST(root, train=training)
        pixels = F.pad(data.data[:number].unsqueeze(1) / 127.5 - 1, [2] * 4, value=-1.0)
        parts.append(TensorDataset(pixels, data.targets[:number]))
    return tuple(parts)


def build(conv: str) -> nn.Module:
    return pyg_vig.create_model(
        "pvig_ti",
        conv=CONVS[conv],
        in_channels=1,
        num_classes=10,
        image_size=32,
        channels=(32, 64, 96),
        depths=(1, 2, 1),
        reductions=(2, 1, 1),
        k=4,
        dilated=False,
        head_channels=256,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="root of torchvision's FashionMNIST (default: scikit-learn's digits)")
    parser.add_argument("--conv", nargs="+", choices=sorted(CONVS), default=list(CONVS))
    parser.add_argument("--images", type=at_least(5), default=10_000, help="number of training images")
    parser.add_argument("--test-images", type=at_least(1), default=10_000, help="number of test images, with --root")
    parser.add_argument("--epochs", type=at_least(1), default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the results here")
    options = parser.parse_args(arguments)
    training, test = load(options.root, options.images, options.test_images)
    accuracies: dict[str, float] = {}
    results = provenance(vars(options)) | {"accuracy": accuracies, "published": PUBLISHED}
    for conv in options.conv:
        torch.manual_seed(options.seed)
        model = build(conv)
        train(model, training, options.epochs)
        accuracies[conv] = accuracy(model, test)
        print(f"{'Fashion-MNIST' if options.root else 'digits'}, {conv}: test accuracy {accuracies[conv]:.1%}")
        if options.output:
            write(options.output, results)
    if options.root:
        print(f"published, trained on all 60,000: {PUBLISHED}")


if __name__ == "__main__":
    main()
