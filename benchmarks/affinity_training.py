"""Which aggregation learns best? Train a small AttentionViG on Fashion-MNIST with different graph convs and seeds.

``python -m benchmarks.affinity_training --root DATA`` with torchvision's files under ``DATA``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

import pyg_vig
from pyg_vig.benchmark import provenance, table, write
from pyg_vig.benchmark.report import Row
from pyg_vig.models import count_macs, count_parameters

Images = tuple[Tensor, Tensor]  # (N, 1, 32, 32) float32, (N,) classes

CONVS: dict[str, dict[str, Any]] = {
    "cross_attention, exponential": {"conv": "cross_attention", "conv_kwargs": {"affinity": "exponential"}},
    "cross_attention, softmax": {"conv": "cross_attention", "conv_kwargs": {"affinity": "softmax"}},
    "max_relative": {"conv": "max_relative"},
}
# Two stages of 8 x 8 and 4 x 4 nodes with six neighbours each. No layer scale: starting at 1e-5, it would all but
# switch off the graph branches in a training run as short as this.
NETWORK: dict[str, Any] = {
    "in_channels": 1,
    "num_classes": 10,
    "image_size": 32,
    "channels": (32, 64),
    "depths": ((1, 2), (1, 2)),
    "steps": (2, 1),
    "position_kernel": 3,
    "layer_scale": None,
    "head_channels": 128,
    "distilled": False,
}
_PADDING = 2  # 28 pixels to 32
_MEAN, _STD = 0.2860, 0.3530  # of the training images' pixels
_LEARNING_RATE, _WEIGHT_DECAY, _BATCH = 2e-3, 0.05, 128


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train every conv with every seed, print the table, and write the results to ``--output`` if it is given."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    splits = [load(options.root, train, number) for train, number in ((True, options.images), (False, options.test))]
    hyperparameters = {"network": NETWORK, "batch": _BATCH, "learning_rate": _LEARNING_RATE}
    results = provenance(vars(options) | hyperparameters)
    results["runs"] = []
    for row in measure(*splits, epochs=options.epochs, seeds=options.seeds):
        results["runs"].append(row)
        print(row, flush=True)
        if options.output:  # after every run, so that an interrupted series keeps its results
            write(options.output, results)
    results["summary"] = summary(results["runs"])
    lines = summary_table(results["summary"])
    print(f"\n{lines}")
    if options.output:
        write(options.output, results)
        options.output.with_suffix(".md").write_text(f"{_heading(options)}\n\n{lines}\n")
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.affinity_training", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, required=True, metavar="DIR", help="folder with torchvision's FashionMNIST")
    add("--images", type=int, default=20_000, metavar="N", help="number of training images, drawn once for all runs")
    add("--test", type=int, default=10_000, metavar="N", help="number of test images")
    add("--epochs", type=int, default=3)
    add("--seeds", type=int, default=3, help="number of runs of every conv")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--output", type=Path, metavar="FILE.json", help="write the results here, and the table to FILE.md")
    return parser.parse_args(arguments)


def load(root: Path, train: bool, number: int) -> Images:
    """Return ``number`` images of a split, chosen at random but the same in every run."""
    data = FashionMNIST(root, train=train, download=False)
    indices = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:number]
    images = F.pad(data.data[indices].unsqueeze(1) / 255, [_PADDING] * 4)
    return (images - _MEAN) / _STD, data.targets[indices]


def measure(train: Images, test: Images, *, epochs: int, seeds: int) -> Iterator[Row]:
    """Yield a row for every run, with seeds in the outer loop so that a disturbed machine affects all convs alike."""
    for seed, conv in product(range(seeds), CONVS):
        torch.manual_seed(seed)
        model = build(conv)
        sizes = {"parameters": count_parameters(model), "macs": count_macs(model, 32)}
        start = time.perf_counter()
        loss = fit(model, train, epochs, seed)
        seconds = time.perf_counter() - start
        accuracy = evaluate(model, test)
        yield {"conv": conv, "seed": seed, **sizes, "accuracy": accuracy, "train_loss": loss, "seconds": seconds}


def build(conv: str) -> nn.Module:
    """Build the network with one of :data:`CONVS`."""
    return pyg_vig.create_model("attention_vig_s", **NETWORK, **CONVS[conv])


def fit(model: nn.Module, data: Images, epochs: int, seed: int) -> float:
    """Train with AdamW, a one-cycle learning rate and random flips; return the mean loss of the last epoch."""
    images, targets = data
    generator = torch.Generator().manual_seed(seed)  # the same batches and flips for every conv
    steps = len(images) // _BATCH
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=epochs * steps)
    model.train()
    for _ in range(epochs):
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for indices in order[: steps * _BATCH].split(_BATCH):
            flip = torch.rand(_BATCH, 1, 1, 1, generator=generator) < 0.5
            batch = torch.where(flip, images[indices].flip(-1), images[indices])
            loss = F.cross_entropy(model(batch), targets[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
    return total / steps


@torch.inference_mode()
def evaluate(model: nn.Module, data: Images) -> float:
    """Return the accuracy in percent."""
    model.eval()
    batches = zip(*(part.split(500) for part in data), strict=True)
    correct = sum(int((model(images).argmax(1) == targets).sum()) for images, targets in batches)
    return 100 * correct / len(data[1])


def summary(runs: Sequence[Row]) -> list[Row]:
    """Return mean and spread of every conv, and its lead over the exponential affinity for every seed."""
    runs_by_conv = {conv: [row for row in runs if row["conv"] == conv] for conv in CONVS}
    baseline = [row["accuracy"] for row in next(iter(runs_by_conv.values()))]
    rows = []
    for conv, conv_runs in runs_by_conv.items():
        accuracies = [run["accuracy"] for run in conv_runs]
        leads = [own - other for own, other in zip(accuracies, baseline, strict=True)]
        rows.append(
            {
                "conv": conv,
                "parameters": conv_runs[0]["parameters"],
                "macs": conv_runs[0]["macs"],
                "accuracy": mean(accuracies),
                "deviation": stdev(accuracies) if len(accuracies) > 1 else None,
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "lead_over_exponential": leads,
                "seconds": mean(run["seconds"] for run in conv_runs),
            }
        )
    return rows


def summary_table(rows: Sequence[Row]) -> str:
    """Format the summary as a Markdown table."""
    columns = ("conv", "parameters", "multiply-adds", "test accuracy, %", "lowest to highest", "lead by seed, points")
    lines = []
    for row in rows:
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.2f}"
        leads = ", ".join(f"{lead:+.2f}" for lead in row["lead_over_exponential"])
        size = (f"{row['parameters'] / 1e3:.0f} K", f"{row['macs'] / 1e6:.2f} M")
        accuracy_range = f"{row['lowest']:.2f} to {row['highest']:.2f}"
        lines.append([row["conv"], *size, f"{row['accuracy']:.2f}{spread}", accuracy_range, leads])
    return table(columns, lines)


def _heading(options: argparse.Namespace) -> str:
    return (
        f"# Aggregation on Fashion-MNIST\n\nA small AttentionViG ({options.images:,} training images, {options.epochs} "
        f"epochs, {options.seeds} seeds, {options.test:,} test images); mean ± standard deviation over seeds. The lead "
        "is over the exponential affinity with the same seed."
    )


if __name__ == "__main__":
    main()
