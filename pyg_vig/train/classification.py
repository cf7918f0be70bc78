"""Training and evaluation of a classifier, as a LightningModule."""

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
        model: the network; where it returns a pair (distillation heads in training), the second learns from the
            teacher, or from the labels where there is none.
        config: learning rate, weight decay and the like.
        teacher: whose classes the second head learns.

    Raises:
        ValueError: for a teacher of a network without ``distilled=True``.

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
            raise ValueError(f"{config.model} has no head that learns from a teacher: add --options.distilled true")
        super().__init__(model, config)
        self.teacher = teacher
        self.mixing = _mixing(config, model.num_classes)
        self.val_accuracy = MulticlassAccuracy(model.num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(model.num_classes, average="micro")

    def loss(
        self,
        outputs: Tensor | tuple[Tensor, ...],
        targets: Tensor,
        smoothing: float = 0.0,
        taught: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy, the mean over all heads.

        Args:
            outputs: scores ``(B, num_classes)``, or those of two heads.
            targets: classes ``(B,)`` or distributions ``(B, num_classes)``.
            smoothing: share of the targets that is spread over all classes.
            taught: classes ``(B,)`` for the second head in place of the targets (hard distillation,
                `arXiv 2012.12877 <https://arxiv.org/abs/2012.12877>`_).
        """
        if not isinstance(outputs, tuple):
            return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        learned, distilled = outputs
        own = F.cross_entropy(learned, targets, label_smoothing=smoothing)
        if taught is None:
            return (own + F.cross_entropy(distilled, targets, label_smoothing=smoothing)) / 2
        return (own + F.cross_entropy(distilled, taught)) / 2

    def on_train_start(self) -> None:
        """Freeze the statistics of batch norms, where that is wanted; validation leaves the modes as they are."""
        if self.config.frozen_norms:
            freeze_batch_norms(self.model)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        images, targets = batch
        if self.mixing is not None:
            images, targets = self.mixing(images, targets)
        taught = None if self.teacher is None else self.teacher(images)
        loss = self.loss(self(images), targets, self.config.label_smoothing, taught)
        return self.log_loss(loss, len(images))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy and loss on validation images."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy and loss on held-out images."""
        self._evaluate(batch, "test", self.test_accuracy)

    def schedule(self, total: int) -> Callable[[int], float]:
        """Warm-up, a cosine, and the last learning rate for a while."""
        config = self.config
        warmup = round(total * min(1.0, config.warmup_epochs / config.epochs))
        end = total - round(total * config.cooldown_epochs / config.epochs)
        floor = config.final_lr / config.peak_lr
        return partial(learning_rate_factor, schedule="cosine", total=end, warmup=warmup, floor=floor)

    def _evaluate(self, batch: tuple[Tensor, Tensor], part: str, accuracy: MulticlassAccuracy) -> None:
        images, targets = batch
        outputs = self(images)
        accuracy(outputs, targets)
        self.log(f"{part}_loss", self.loss(outputs, targets), batch_size=len(images), sync_dist=True)
        self.log(f"{part}_accuracy", accuracy, batch_size=len(images))


def _mixing(config: RunConfig, num_classes: int) -> v2.Transform | None:
    """Mixup, CutMix, or one of the two for every batch."""
    mixings: list[v2.Transform] = []
    if config.mixup:
        mixings.append(v2.MixUp(alpha=config.mixup, num_classes=num_classes))
    if config.cutmix:
        mixings.append(v2.CutMix(alpha=config.cutmix, num_classes=num_classes))
    return v2.RandomChoice(mixings) if mixings else None
