"""A ten-line graph convolution of your own in an image backbone: `python examples/custom_conv.py`.

Trains a small ViG on scikit-learn's handwritten digits, once with the conv below and once with ViG's own.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from arguments import at_least
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn import MessagePassing
from tqdm import tqdm

import pyg_vig


class GatedConv(MessagePassing):
    """Mean of the neighbours, gated channel by channel by an edge function of node and neighbour."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(aggr="mean")
        self.gate = nn.Linear(2 * in_channels, in_channels)
        self.update_node = nn.Linear(2 * in_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.update_node(torch.cat([x, self.propagate(edge_index, x=x)], dim=1))

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return self.gate(torch.cat([x_i, x_j], dim=1)).sigmoid() * x_j


def digits(count: int) -> tuple[TensorDataset, TensorDataset]:
    """Load the digits as 32 x 32 images; a random fifth is the test set."""
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 8 - 1
    images = F.interpolate(images, (32, 32), mode="bilinear")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    test, train = order.split([len(order) // 5, len(order) - len(order) // 5])
    labels = torch.from_numpy(labels)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def train(model: nn.Module, data: TensorDataset, epochs: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    loader = DataLoader(data, batch_size=64, shuffle=True, drop_last=len(data) % 64 == 1)  # batch norm needs two
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(loader))
    for _ in tqdm(range(epochs), desc="epochs"):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset) -> float:
    model.eval()
    correct = [model(images).argmax(1) == labels for images, labels in DataLoader(data, batch_size=256)]
    return torch.cat(correct).double().mean().item()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=at_least(1), default=10)
    parser.add_argument("--images", type=at_least(5), default=1797, help="number of digits to use")
    options = parser.parse_args(arguments)
    training, test = digits(options.images)
    for name, conv in (("GatedConv", GatedConv), ("ViG's max-relative conv", "max_relative")):
        torch.manual_seed(0)
        model = pyg_vig.create_model("vig_nano", in_channels=1, num_classes=10, conv=conv)
        train(model, training, options.epochs)
        print(f"{name}: {accuracy(model, test):.1%} of the test digits")


if __name__ == "__main__":
    main()
