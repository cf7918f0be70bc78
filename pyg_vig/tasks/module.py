"""What the LightningModules of the dense tasks share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from pyg_vig.nn.norm import freeze_batch_norms
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.schedule import rate
from pyg_vig.train.module import TrainingModule


class TaskModule(TrainingModule):
    """A network with its decoder: a choice of schedules, batch norms that stop learning when told."""

    config: TaskConfig

    def on_train_epoch_start(self) -> None:
        """From ``norm_epochs`` on, batch norms stay as they are."""
        if self.config.norm_epochs is not None and self.current_epoch >= self.config.norm_epochs:
            freeze_batch_norms(self.model)

    def schedule(self, total: int) -> Callable[[int], float]:
        """The one that is chosen, after the warm-up."""
        config = self.config
        milestones = [epoch / config.epochs for epoch in config.milestones]
        return partial(rate, schedule=config.schedule, total=total, warmup=config.warmup_steps, milestones=milestones)

    def log_loss(self, loss: Tensor, batch_size: int) -> Tensor:
        """Log the loss of a step and hand it on."""
        self.log("train_loss", loss, **self.per_epoch(batch_size))
        return loss

    @staticmethod
    def per_epoch(batch_size: int) -> dict[str, Any]:
        """Options of ``log`` for the mean over an epoch."""
        return {"on_epoch": True, "on_step": False, "batch_size": batch_size, "sync_dist": True}
