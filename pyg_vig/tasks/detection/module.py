"""Training and evaluation of a detector, as a LightningModule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_vig.tasks.detection.average_precision import AveragePrecision
from pyg_vig.tasks.module import TaskModule


class Detection(TaskModule):
    """Train with the sum of the detector's losses; evaluate by COCO's mean average precision.

    Args:
        model: a detector from :func:`build_detector`.
        config: training options, such as the learning rate and weight decay.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.detection import Detection, DetectionConfig, build_detector
        >>> options = {"patch_size": 8, "depth": 4}
        >>> model = build_detector(
        ...     "retinanet", backbone="vig_nano", num_classes=2, channels=16,
        ...     backbone_options=options, options={"min_size": 64, "max_size": 64},
        ... )
        >>> module = Detection(model, DetectionConfig(data="coco")).eval()
        >>> len(module([torch.rand(3, 48, 48)]))
        1
    """

    average_precision: AveragePrecision

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], batch_idx: int) -> Tensor:
        """Compute the sum of the losses of a batch."""
        images, targets = batch
        losses: dict[str, Tensor] = self.model(images, targets)
        loss = torch.stack(list(losses.values())).sum()
        self.log_dict({f"train_{name}": value for name, value in losses.items()}, **self.per_epoch(len(images)))
        return self.log_loss(loss, len(images))

    def on_validation_epoch_start(self) -> None:
        """Start with no detections."""
        images = self.trainer.datamodule.val_images  # type: ignore[attr-defined]
        self.average_precision = AveragePrecision(images.coco, images.categories)

    def validation_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], batch_idx: int) -> None:
        """Collect the detections of a batch."""
        images, targets = batch
        self.average_precision.update([target["image_id"] for target in targets], self.model(images))

    def on_validation_epoch_end(self) -> None:
        """Compare the collected detections with the annotations."""
        self.log_dict({f"val_{name}": value for name, value in self.average_precision.compute().items()})
