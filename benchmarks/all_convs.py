"""One code path for all convs: train every conv on five data sets, with all other settings equal.

``python -m benchmarks.all_convs --root DATA --output FILE.json``, where DATA holds the data sets as torchvision and PyG
store them (``Cora/``, ``TU/`` with ``splits_dwivedi/``, ``FashionMNIST/``), and ``ModelNet10/{train,test}.npz``. The
training budget is small, so the table shows that all convs work everywhere, not which is best.
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
from torch import nn

from benchmarks.conv_tasks import TASKS, Task
from benchmarks.series import load_finished_rows
from pyg_vig.benchmark.report import Row, provenance, table, write

OURS = ["max_relative", "reverse_max_relative", "edge", "sage", "gin", "cross_attention"]
PYG = ["GCNConv", "SAGEConv", "GATv2Conv", "TransformerConv", "GENConv", "ResGatedGraphConv"]
_LEARNING_RATE, _WEIGHT_DECAY = 5e-3, 0.05


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train every conv on every data set, print the table, and write the results to ``--output`` if it is given."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    results = provenance({**vars(options), "learning_rate": _LEARNING_RATE, "weight_decay": _WEIGHT_DECAY})
    results["runs"] = load_finished_rows(options.output, results, "runs", ignored_settings=("tasks", "convs", "seeds"))
    tasks = [TASKS[name](options.root) for name in options.tasks]
    for row in measure(tasks, options, [run_key(run) for run in results["runs"]]):
        results["runs"].append(row)
        print(row, flush=True)
        if options.output:  # after every run, so that an interrupted series keeps its results
            write(options.output, results)
            options.output.with_suffix(".md").write_text(to_markdown(results))
    print(f"\n{accuracy_table(results['runs'])}")
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all_convs", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    add("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), metavar="NAME")
    add("--convs", nargs="+", default=[*OURS, *PYG], metavar="NAME", help="ours by name, PyG's by class name")
    add("--steps", type=int, default=150, help="number of training steps")
    add("--seeds", type=int, default=2, help="number of runs of every conv on every data set")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--output", type=Path, metavar="FILE.json", help="write the results here, and the table to FILE.md")
    return parser.parse_args(arguments)


def run_key(run: Row) -> tuple[str, str, int]:
    """Return the key that identifies a run."""
    return run["task"], run["conv"], run["seed"]


def measure(tasks: Sequence[Task], options: argparse.Namespace, done: Sequence[tuple[str, str, int]]) -> Iterator[Row]:
    """Yield a row for every run that is not in ``done``, with seeds in the outer loop."""
    for seed, task, conv in product(range(options.seeds), tasks, options.convs):
        run: Row = {"task": task.name, "conv": conv, "seed": seed}
        if run_key(run) in done:
            continue
        torch.manual_seed(seed)
        model = task.build(conv)
        start = time.process_time()
        fit(model, task, options.steps)
        seconds = time.process_time() - start
        yield run | {"accuracy": evaluate(model, task), "cpu_seconds": round(seconds, 2)}


def fit(model: nn.Module, task: Task, steps: int) -> None:
    """Train for ``steps`` steps with AdamW and a one-cycle learning rate."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    for _, batch in zip(range(steps), task.training_batches(), strict=False):
        optimizer.zero_grad()
        F.cross_entropy(batch.logits(model), batch.y).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def evaluate(model: nn.Module, task: Task) -> float:
    """Return the test accuracy in percent."""
    model.eval()
    correct = [batch.logits(model).argmax(1) == batch.y for batch in task.test_batches]
    return 100 * torch.cat(correct).double().mean().item()


def accuracy_table(runs: Sequence[Row]) -> str:
    """Format a table of convs by data sets, with the mean over seeds."""
    tasks, convs = (list(dict.fromkeys(row[field] for row in runs)) for field in ("task", "conv"))
    lines = []
    for conv in convs:
        accuracies = [[row["accuracy"] for row in runs if (row["task"], row["conv"]) == (task, conv)] for task in tasks]
        lines.append([f"`{conv}`", *(_format_cell(values) for values in accuracies)])
    return table(["conv", *tasks], lines)


def to_markdown(results: Row) -> str:
    """Return the Markdown page: a heading and the table."""
    settings, date = results["settings"], results["date"][:10]
    lines, count = accuracy_table(results["runs"]), len({run["seed"] for run in results["runs"]})
    seeds = f"mean ± standard deviation over {count} seeds" if count > 1 else "one seed"
    return (
        f"# Every conv on five data sets\n\nTest accuracy in percent after {settings['steps']} steps of training, "
        f"{seeds}. Network, batches and optimizer are the same for all; "
        "ours by name, PyG's by class name. The budget is small: the table shows that one code path serves all, not "
        f"which conv is best. Made by `python -m benchmarks.all_convs` on {date}.\n\n{lines}\n"
    )


def _format_cell(values: Sequence[float]) -> str | None:
    if not values:
        return None
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
