"""Base of all LightningModules: seeding for exact resumption, AdamW, a learning rate schedule by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pyg_vig.train.optimizer import decayed_names, parameter_groups
from pyg_vig.train.options import RunOptions
from pyg_vig.train.sampling import derive_seed


class TrainingModule(L.LightningModule):
    """Base class of the LightningModules; subclasses add losses, metrics and :meth:`schedule`.

    Args:
        model: the network.
        config: options of the run, such as learning rate and weight decay.
    """

    def __init__(self, model: nn.Module, config: RunOptions) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.decayed = decayed_names(model)

    def forward(self, images: Any) -> Any:
        """Apply the network to images."""
        return self.model(images)

    def schedule(self, total: int) -> Callable[[int], float]:
        """Return a function from the optimizer step to the learning rate factor, for a training of ``total`` steps."""
        raise NotImplementedError

    def log_loss(self, loss: Tensor, batch_size: int) -> Tensor:
        """Log the loss of a step and return it."""
        self.log("train_loss", loss, **self.per_epoch(batch_size))
        return loss

    @staticmethod
    def per_epoch(batch_size: int) -> dict[str, Any]:
        """Return the options with which ``log`` averages over an epoch."""
        return {"on_epoch": True, "on_step": False, "batch_size": batch_size, "sync_dist": True}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the generator from seed, batch number and process, so that a resumed run continues exactly."""
        batch_number = self.trainer.fit_loop.total_batch_idx
        torch.manual_seed(derive_seed(self.config.seed, batch_number, self.global_rank))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Configure AdamW, without weight decay on biases and norms, and a learning rate schedule by step."""
        groups = parameter_groups(self.model, self.config.weight_decay, self.decayed)
        optimizer = torch.optim.AdamW(groups, lr=self.config.peak_lr)
        factor = self.schedule(int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
