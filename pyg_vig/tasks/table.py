"""One line of metrics an epoch, and their curves."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from time import perf_counter

import lightning as L
from lightning.pytorch.callbacks import Callback

from pyg_vig.models.checkpoint import write_atomically
from pyg_vig.train.callbacks import read_metrics


class EpochTable(Callback):
    """A CSV file with all metrics of every epoch; a resumed run drops the lines that it is about to write again.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the lines of the epochs before this one."""
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.start = perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file anew with one more line; epochs without an evaluation leave its columns empty."""
        if not trainer.is_global_zero:
            return
        evaluated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = trainer.callback_metrics.items()
        row = {name: float(value) for name, value in metrics if evaluated or not name.startswith("val_")}
        about = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        rates = {"lr": trainer.optimizers[0].param_groups[0]["lr"], "seconds": perf_counter() - self.start}
        self.rows.append(about | rates | row)
        write_atomically(self.path, _csv(self.rows).encode())


def _csv(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
    return text.getvalue()


def plot_curves(metrics: str | Path, output: str | Path, title: str) -> None:
    """Draw the training loss, and on its right the evaluations, from a file of :class:`EpochTable`.

    Args:
        metrics: the CSV file.
        output: picture to write.
        title: title of the picture.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    loss.plot([row["epoch"] + 1 for row in rows], [row["train_loss"] for row in rows])
    loss.set(xlabel="epoch", ylabel="training loss", yscale="log")
    for name, label in _CURVES.items():
        points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]  # not every epoch is evaluated
        if points:
            score.plot(*zip(*points, strict=True), marker=".", label=label)
    score.set(xlabel="epoch", ylim=(0, 1))
    score.grid(alpha=0.3)
    if score.lines:
        score.legend()
    figure.suptitle(title)
    figure.savefig(output, dpi=150)


_CURVES = {
    "val_box_map": "box mAP",
    "val_box_map50": "box AP50",
    "val_mask_map": "mask mAP",
    "val_mask_map50": "mask AP50",
    "val_miou": "mIoU",
    "val_pixel_accuracy": "pixel accuracy",
}
