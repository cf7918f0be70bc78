"""LightningModule for training and evaluating a classifier."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from pyg_vig.models import VisionGNN
from pyg_vig.nn.norm import freeze_batch_norms
from pyg_vig.train.config import RunConfig
from pyg_vig.train.module import TrainingModule
from pyg_vig.train.schedule import learning_rate_factor
from pyg_vig.train.teacher import Teacher


class Classification(TrainingModule):
    """Cross-entropy with label smoothing, Mixup or CutMix, distillation; AdamW, warm-up and cosine; top-1 accuracy.

    Args:
        model: the network; if it returns a pair (two heads in training), the second output learns from the teacher, or
            from the labels if there is no teacher.
        config: options of the run, such as learning rate and weight decay.
        teacher: network whose predicted classes the second head learns.

    Raises:
        ValueError: if a teacher is given for a network without ``distilled=True``.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.train import Classification, RunConfig
        >>> module = Classification(pyg_vig.create_model("vig_nano"), RunConfig())
        >>> images, labels = torch.rand(2, 3, 32, 32), torch.tensor([4, 2])
        >>> module.loss(module(images), labels, smoothing=0.1).shape
        torch.Size([])
    """

    model: VisionGNN
    config: RunConfig

    def __init__(self, model: VisionGNN, config: RunConfig, teacher: Teacher | None = None) -> None:
        if teacher is not None and not model.config.distilled:
            raise ValueError(f"{config.model} has no second head to learn from a teacher: add --options.distilled true")
        super().__init__(model, config)
        self.teacher = teacher
        self.mixing = _build_mixing(config, model.num_classes)
        self.val_accuracy = MulticlassAccuracy(model.num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(model.num_classes, average="micro")

    def loss(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        targets: Tensor,
        smoothing: float = 0.0,
        taught: Tensor | None = None,
    ) -> Tensor:
        """Compute the cross-entropy, averaged over the heads.

        Args:
            outputs: scores ``(B, num_classes)`` of one head, or a pair for two heads.
            targets: classes ``(B,)`` or distributions ``(B, num_classes)``.
            smoothing: label smoothing, the fraction of the targets that is spread over all classes.
            taught: classes ``(B,)`` that replace the targets for the second head (hard distillation,
                `arXiv 2012.12877 <https://arxiv.org/abs/2012.12877>`_).
        """
        if not isinstance(outputs, tuple):
            return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        scores, distilled = outputs
        label_loss = F.cross_entropy(scores, targets, label_smoothing=smoothing)
        if taught is None:
            return (label_loss + F.cross_entropy(distilled, targets, label_smoothing=smoothing)) / 2
        return (label_loss + F.cross_entropy(distilled, taught)) / 2

    def on_train_start(self) -> None:
        """Freeze the batch norm statistics if ``frozen_norms`` is set; validation does not change the modes."""
        if self.config.frozen_norms:
            freeze_batch_norms(self.model)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of a batch."""
        images, targets = batch
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        taught = None if self.teacher is None else self.teacher(images)
        loss = self.loss(self(images), targets, self.config.label_smoothing, taught)
        return self.log_loss(loss, len(images))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Update accuracy and loss on the validation images."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Update accuracy and loss on the held-out images."""
        self._evaluate(batch, "test", self.test_accuracy)

    def schedule(self, total: int) -> Callable[[int], float]:
        """Return the schedule: linear warm-up, cosine decay, cool-down at the final learning rate."""
        config = self.config
        warmup = round(total * min(1.0, config.warmup_epochs / config.epochs))
        end = total - round(total * config.cooldown_epochs / config.epochs)
        floor = config.final_lr / config.peak_lr
        return partial(learning_rate_factor, schedule="cosine", total=end, warmup=warmup, floor=floor)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, accuracy: MulticlassAccuracy) -> None:
        images, targets = batch
        outputs = self(images)
        accuracy(outputs, targets)
        self.log(f"{split}_loss", self.loss(outputs, targets), batch_size=len(images), sync_dist=True)
        self.log(f"{split}_accuracy", accuracy, batch_size=len(images))


def _build_mixing(config: RunConfig, num_classes: int) -> v2.Transform | None:
    """Return Mixup or CutMix, or if both are enabled a random choice of one per batch."""
    transforms: list[v2.Transform] = []
    if config.mixup:
        transforms.append(v2.MixUp(alpha=config.mixup, num_classes=num_classes))
    if config.cutmix:
        transforms.append(v2.CutMix(alpha=config.cutmix, num_classes=num_classes))
    return v2.RandomChoice(transforms) if transforms else None
