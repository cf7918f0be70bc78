"""What a run writes while it trains: one progress bar, one line of metrics an epoch, whole checkpoints only."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ProgressBar
from torch import Tensor
from tqdm.auto import tqdm

from pyg_vig.atomic import write_atomically


class MetricsFile(Callback):
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
        self.start, self.first_step = perf_counter(), trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Read the clock of the training steps: validation does not count."""
        self.training_seconds = perf_counter() - self.start

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file anew with one more line; epochs without an evaluation leave its columns empty."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = (trainer.global_step - self.first_step) * data.batch_size
        evaluated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = sorted(trainer.callback_metrics.items(), key=lambda item: item[0].startswith("val_"))
        row: dict[str, float] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **{name: float(value) for name, value in metrics if evaluated or not name.startswith("val_")},
            "images_per_second": images / self.training_seconds,
            "seconds": perf_counter() - self.start,
            "skipped_images": data.skipped,
        }
        self.rows.append(row)
        write_atomically(self.path, _csv(self.rows).encode())


class StepLog(Callback):
    """Logs what a step costs and where it stands: loss, learning rate, images per second (of all processes), and the
    largest memory so far in GB (of the first GPU, or of the process).

    Args:
        every: steps between two entries.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock anew: validation does not count."""
        self.since, self.first_step = perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, if it is time."""
        steps = trainer.global_step - self.first_step
        if steps < self.every:
            return
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # waits for the device, so the clock is right
        images = steps * trainer.datamodule.batch_size  # type: ignore[attr-defined]
        entry = {
            "loss": loss,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": images / (perf_counter() - self.since),
            "memory_gb": _peak_memory(pl_module.device) / 1e9,
        }
        for logger in trainer.loggers:
            logger.log_metrics(entry, step=trainer.global_step)
        self.on_train_epoch_start(trainer, pl_module)


class NonFiniteLoss(Callback):
    """Stops a run whose loss is no number any more, and names the step and the images.

    The loss of a batch is looked at one batch later: by then the device has it, and nothing waits.
    """

    def __init__(self) -> None:
        self.last: tuple[Tensor, int, int] | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss of the batch before, and keep this one."""
        self._check(trainer)
        self.last = outputs["loss"].detach(), trainer.global_step, batch_idx

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the last batch, before the epoch is saved."""
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        last, self.last = self.last, None
        if last is None or torch.isfinite(last[0]):
            return
        loss, step, batch_idx = last
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = ", ".join(map(str, data.images_of_batch(trainer.current_epoch, batch_idx)[:8]))
        raise FloatingPointError(
            f"the loss is {float(loss)} in step {step} (epoch {trainer.current_epoch}, batch {batch_idx}, process "
            f"{trainer.global_rank}; training images {images}, ...): lower lr, lengthen the warm-up, or use "
            f"precision 32-true; the run can go on from its last whole epoch"
        )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _csv(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _number(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"  # steps, whole


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The lines of a metrics file, oldest first; none where there is no file yet."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


class RunProgress(ProgressBar):
    """One bar for the whole training, with the latest loss and validation accuracy."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True

    def disable(self) -> None:
        """Called by Lightning in all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar, as far as the run has come."""
        total = int(trainer.estimated_stepping_batches)
        self.bar = tqdm(
            total=total, initial=trainer.global_step, unit="step", desc="training", disable=not self._enabled
        )

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Move on."""
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the metrics of the epoch."""
        metrics = trainer.callback_metrics
        shown = {"epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}"}
        if "train_loss" in metrics:
            shown["loss"] = f"{float(metrics['train_loss']):.3f}"
        if "val_accuracy" in metrics:
            shown["validation"] = f"{float(metrics['val_accuracy']):.1%}"
        self.bar.set_postfix(shown)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the bar as it is."""
        self.bar.close()


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole at any time: a run that is killed while it writes keeps the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary file beside ``path``, then rename it."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
