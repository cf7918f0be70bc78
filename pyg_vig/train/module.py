"""What all kinds of training share: seeds that make a resumed run exact, AdamW, a learning rate for every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pyg_vig.train.optimizer import decayed_names, parameter_groups
from pyg_vig.train.options import RunOptions
from pyg_vig.train.sampling import mix


class TrainingModule(L.LightningModule):
    """Base of the LightningModules, which add their losses, their metrics and :meth:`schedule`.

    Args:
        model: the network.
        config: learning rate, weight decay and the like.
    """

    def __init__(self, model: nn.Module, config: RunOptions) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.decayed = decayed_names(model)

    def forward(self, images: Any) -> Any:
        """What the network says of images."""
        return self.model(images)

    def schedule(self, total: int) -> Callable[[int], float]:
        """Factor of the learning rate at every step of the optimizer, where there are ``total`` of them."""
        raise NotImplementedError

    def log_loss(self, loss: Tensor, batch_size: int) -> Tensor:
        """Log the loss of a step and hand it on."""
        self.log("train_loss", loss, **self.per_epoch(batch_size))
        return loss

    @staticmethod
    def per_epoch(batch_size: int) -> dict[str, Any]:
        """Options of ``log`` for the mean over an epoch."""
        return {"on_epoch": True, "on_step": False, "batch_size": batch_size, "sync_dist": True}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw the random numbers of a batch from seed, its number and the process: resumed runs go on exactly."""
        batch_number = self.trainer.fit_loop.total_batch_idx
        torch.manual_seed(mix(self.config.seed, batch_number, self.global_rank))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with the learning rate changed every step; no weight decay on biases and norms."""
        groups = parameter_groups(self.model, self.config.weight_decay, self.decayed)
        optimizer = torch.optim.AdamW(groups, lr=self.config.peak_lr)
        factor = self.schedule(int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
