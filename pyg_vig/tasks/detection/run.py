"""Options and training run of a detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from pyg_vig.models.config import require
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.detection.coco import CocoData
from pyg_vig.tasks.detection.detector import build_detector
from pyg_vig.tasks.detection.module import Detection
from pyg_vig.tasks.run import TaskRun


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(TaskConfig):
    """Options for training a detector; the defaults follow the 1x schedule, but with batches of 2 images (recipes: 16).

    Args:
        data: folder in COCO's layout, DATA/SPLIT/*.jpg and DATA/annotations/instances_SPLIT.json.
        detector: retinanet (RetinaNet) or mask_rcnn (Mask R-CNN).
        channels: number of channels of the feature pyramid.
        head_channels: number of channels of Mask R-CNN's box head.
        anchor_size: side of the smallest anchors in pixels.
        options: further arguments of torchvision's detector class, such as --options.min_size 800.

    Example:
        >>> from pyg_vig.tasks.detection import DetectionConfig
        >>> DetectionConfig(data="coco").decoder
        'mask_rcnn'
    """

    train_split: str = "train2017"
    val_split: str = "val2017"
    detector: Literal["retinanet", "mask_rcnn"] = "mask_rcnn"
    channels: int = 256
    head_channels: int = 1024
    anchor_size: int = 32
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "head_channels", "anchor_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")

    @property
    def decoder(self) -> str:
        """Name of the detector."""
        return self.detector


class DetectionRun(TaskRun):
    """Training run of a detector, see :class:`pyg_vig.train.training_run.TrainingRun`.

    Example:
        >>> from pyg_vig.tasks.detection import DetectionConfig, DetectionRun
        >>> DetectionRun.start(DetectionConfig(data="nowhere"))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        FileNotFoundError: ...
    """

    options = DetectionConfig

    @classmethod
    def build(cls, config: DetectionConfig) -> tuple[Detection, CocoData]:
        """Build the LightningModule and the data loaders that the options specify."""
        data = CocoData(
            config.data,
            config.train_split,
            config.val_split,
            batch_size=config.batch_size,
            flip=config.flip,
            seed=config.seed,
            workers=config.workers,
            masks=config.detector == "mask_rcnn",
        )
        torch.manual_seed(config.seed)
        model = build_detector(
            config.detector,
            backbone=config.backbone,
            num_classes=len(data.classes),
            classes=data.classes,
            weights=config.weights,
            freeze_norm=config.freeze_norm,
            backbone_options=config.backbone_options,
            channels=config.channels,
            head_channels=config.head_channels,
            anchor_size=config.anchor_size,
            options=config.options,
        )
        return Detection(model, config), data
