"""Training and evaluation of a classifier, as a LightningModule."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from pyg_vig.models import VisionGNN
from pyg_vig.train.config import RunConfig
from pyg_vig.train.optimizer import parameter_groups, warmup_cosine
from pyg_vig.train.sampling import mix


class Classification(L.LightningModule):
    """Cross-entropy with label smoothing, AdamW, warm-up and cosine; top-1 accuracy.

    Args:
        model: the network; where it returns a pair (distillation heads in training), both learn the labels.
        config: learning rate, weight decay and the like.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.train import Classification, RunConfig
        >>> module = Classification(pyg_vig.create_model("vig_nano"), RunConfig())
        >>> images, labels = torch.rand(2, 3, 32, 32), torch.tensor([4, 2])
        >>> module.loss(module(images), labels, smoothing=0.1).shape
        torch.Size([])
    """

    def __init__(self, model: VisionGNN, config: RunConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.val_accuracy = MulticlassAccuracy(model.num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(model.num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of every image."""
        return self.model(images)

    def loss(self, outputs: Tensor | tuple[Tensor, ...], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy with classes ``(B,)`` or distributions ``(B, num_classes)``, the mean over all heads."""
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        return torch.stack([F.cross_entropy(scores, targets, label_smoothing=smoothing) for scores in heads]).mean()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw the random numbers of a step from seed, step and process alone: resumed runs go on exactly."""
        torch.manual_seed(mix(self.config.seed, self.global_step, self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        images, targets = batch
        loss = self.loss(self(images), targets, self.config.label_smoothing)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy and loss on validation images."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy and loss on held-out images."""
        self._evaluate(batch, "test", self.test_accuracy)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with the learning rate changed every step."""
        groups = parameter_groups(self.model, self.config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.config.lr)
        total = int(self.trainer.estimated_stepping_batches)
        warmup = round(total * min(1.0, self.config.warmup_epochs / self.config.epochs))
        factor = partial(warmup_cosine, warmup=warmup, total=total)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _evaluate(self, batch: tuple[Tensor, Tensor], part: str, accuracy: MulticlassAccuracy) -> None:
        images, targets = batch
        outputs = self(images)
        accuracy(outputs, targets)
        self.log(f"{part}_loss", self.loss(outputs, targets), batch_size=len(images))
        self.log(f"{part}_accuracy", accuracy, batch_size=len(images))
