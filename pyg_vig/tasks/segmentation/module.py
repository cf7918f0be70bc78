"""Training and evaluation of a segmenter, as a LightningModule."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.module import TaskModule
from pyg_vig.tasks.segmentation.ade20k import IGNORE_INDEX
from pyg_vig.tasks.segmentation.segmenter import Segmenter, segment


class Segmentation(TaskModule):
    """Train with cross-entropy over the labelled pixels; evaluate by mean IoU over the classes that occur.

    Args:
        model: a segmenter from :func:`build_segmenter`.
        config: training options, such as the learning rate and weight decay.
        size: shorter side in pixels to which images are resized for evaluation; scores are resized back.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.segmentation import Segmentation, SegmentationConfig, build_segmenter
        >>> options = {"patch_size": 8, "depth": 4}
        >>> model = build_segmenter("fpn", backbone="vig_nano", num_classes=3, backbone_options=options)
        >>> module = Segmentation(model, SegmentationConfig(data="ade20k"), size=64).eval()
        >>> module(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, model: Segmenter, config: TaskConfig, size: int) -> None:
        super().__init__(model, config)
        self.size = size
        classes = model.config.num_classes
        self.val_miou = MulticlassJaccardIndex(classes, ignore_index=IGNORE_INDEX)
        self.val_pixel_accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=IGNORE_INDEX)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of a batch."""
        images, targets = batch
        num_labelled = (targets != IGNORE_INDEX).sum().clamp(min=1)  # a crop may have no labels at all
        loss_sum = F.cross_entropy(self.model(images), targets, ignore_index=IGNORE_INDEX, reduction="sum")
        return self.log_loss(loss_sum / num_labelled, len(images))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Compare the class map of an image with its annotation, at the annotation's size."""
        images, targets = batch
        classes = segment(self.model, images, self.size)
        for name in ("val_miou", "val_pixel_accuracy"):
            metric = getattr(self, name)
            metric.update(classes, targets)
            self.log(name, metric, on_epoch=True, on_step=False, batch_size=len(images))
