"""What the LightningModules of the dense tasks share."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pyg_vig.nn.norm import freeze_batch_norms
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.optimization import adamw
from pyg_vig.train.sampling import mix


class TaskModule(L.LightningModule):
    """AdamW with its schedule, seeds that make a resumed run exact, batch norms that stop learning when told.

    Args:
        model: the network with its decoder.
        config: learning rate, weight decay and the like.
    """

    def __init__(self, model: nn.Module, config: TaskConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def on_train_epoch_start(self) -> None:
        """From ``norm_epochs`` on, batch norms stay as they are."""
        if self.config.norm_epochs is not None and self.current_epoch >= self.config.norm_epochs:
            freeze_batch_norms(self.model)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw the random numbers of a step from seed, step and process alone: resumed runs go on exactly."""
        torch.manual_seed(mix(self.config.seed, self.global_step, self.global_rank))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with the learning rate changed every step."""
        config = self.config
        return adamw(
            self.model,
            lr=config.lr,
            weight_decay=config.weight_decay,
            schedule=config.schedule,
            total=int(self.trainer.estimated_stepping_batches),
            warmup=config.warmup_steps,
            milestones=[epoch / config.epochs for epoch in config.milestones],
        )

    def log_loss(self, loss: Tensor, batch_size: int) -> Tensor:
        """Log the loss of a step and hand it on."""
        self.log("train_loss", loss, **self.per_epoch(batch_size))
        return loss

    @staticmethod
    def per_epoch(batch_size: int) -> dict[str, Any]:
        """Options of ``log`` for the mean over an epoch."""
        return {"on_epoch": True, "on_step": False, "batch_size": batch_size}
