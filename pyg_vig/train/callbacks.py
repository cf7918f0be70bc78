"""Callbacks for the output of a run: progress bar, metrics per epoch and per step, atomic checkpoints."""

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
    """Writes all metrics to a CSV file, one row per epoch; a resumed run drops the rows that it will write again.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the rows of previous epochs."""
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start timing the epoch."""
        self.start, self.first_step = perf_counter(), trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Update the time spent on training steps, which excludes validation."""
        self.training_seconds = perf_counter() - self.start

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rewrite the file with the new row; epochs without validation leave the ``val_`` columns empty."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = (trainer.global_step - self.first_step) * data.batch_size
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = sorted(trainer.callback_metrics.items(), key=lambda item: item[0].startswith("val_"))
        row: dict[str, float] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **{name: float(value) for name, value in metrics if validated or not name.startswith("val_")},
            "images_per_second": images / self.training_seconds,
            "seconds": perf_counter() - self.start,
            "skipped_images": data.skipped,
        }
        self.rows.append(row)
        write_atomically(self.path, _to_csv(self.rows).encode())


class StepLog(Callback):
    """Logs loss, learning rate, images per second (all processes) and peak memory in GB (first GPU, or process).

    Args:
        every: steps between log entries.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restart timing, so that validation is excluded."""
        self.start, self.first_step = perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log every ``every`` steps."""
        steps = trainer.global_step - self.first_step
        if steps < self.every:
            return
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # synchronises, so the timing is right
        images = steps * trainer.datamodule.batch_size  # type: ignore[attr-defined]
        entry = {
            "loss": loss,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": images / (perf_counter() - self.start),
            "memory_gb": _peak_memory(pl_module.device) / 1e9,
        }
        for logger in trainer.loggers:
            logger.log_metrics(entry, step=trainer.global_step)
        self.on_train_epoch_start(trainer, pl_module)


class StopOnNonFiniteLoss(Callback):
    """Stops a run when its loss is NaN or infinite; the error names the step and the images.

    The loss of a batch is checked one batch later, when it is available without waiting for the device.
    """

    def __init__(self) -> None:
        self.pending: tuple[Tensor, int, int] | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of the previous batch and keep this one."""
        self._check(trainer)
        self.pending = outputs["loss"].detach(), trainer.global_step, batch_idx

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the last batch before the checkpoint of the epoch is saved."""
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        pending, self.pending = self.pending, None
        if pending is None or torch.isfinite(pending[0]):
            return
        loss, step, batch_idx = pending
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = ", ".join(map(str, data.images_of_batch(trainer.current_epoch, batch_idx)[:8]))
        raise FloatingPointError(
            f"the loss is {float(loss)} in step {step} (epoch {trainer.current_epoch}, batch {batch_idx}, process "
            f"{trainer.global_rank}; training images {images}, ...): reduce lr, lengthen the warm-up, or use "
            f"precision 32-true; the run can be resumed from its last complete epoch"
        )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024  # in KiB on Linux


def _to_csv(rows: list[dict[str, float]]) -> str:
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _format_number(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _format_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"  # steps stay integers


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """Read the rows of a metrics file, oldest first; an empty list if the file does not exist."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


class RunProgress(ProgressBar):
    """A single progress bar for the whole training, with the latest loss and validation accuracy."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True

    def disable(self) -> None:
        """Disable the bar; Lightning calls this in all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Create the bar at the current step."""
        total = int(trainer.estimated_stepping_batches)
        self.bar = tqdm(
            total=total, initial=trainer.global_step, unit="step", desc="training", disable=not self._enabled
        )

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Advance the bar."""
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the metrics of the epoch."""
        metrics = trainer.callback_metrics
        postfix = {"epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}"}
        if "train_loss" in metrics:
            postfix["loss"] = f"{float(metrics['train_loss']):.3f}"
        if "val_accuracy" in metrics:
            postfix["validation"] = f"{float(metrics['val_accuracy']):.1%}"
        self.bar.set_postfix(postfix)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: a run killed while writing keeps the previous checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary file beside ``path``, then rename it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
