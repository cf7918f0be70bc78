"""Options and training run of a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from pyg_vig.models.config import require
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.run import TaskRun
from pyg_vig.tasks.segmentation.ade20k import SegmentationData, count_classes
from pyg_vig.tasks.segmentation.module import Segmentation
from pyg_vig.tasks.segmentation.segmenter import build_segmenter
from pyg_vig.train.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(TaskConfig):
    """Options for training a segmenter; the defaults are usual for ADE20K, with batches of 4 crops (recipes: 16, 32).

    Args:
        data: folder in ADE20K's layout, DATA/images/SPLIT/*.jpg and DATA/annotations/SPLIT/*.png.
        segmenter: decoder: fpn (Semantic FPN) or upernet (UPerNet).
        num_classes: number of classes; by default the largest label in the training annotations.
        size: side of the crops in pixels.
        scale_min: minimum of the random shorter side to which images are resized before the crop, in multiples of size.
        scale_max: maximum of this shorter side, in multiples of size.
        options: further arguments of the decoder's class in segmentation-models-pytorch, such as
            --options.decoder_dropout 0.1.

    Example:
        >>> from pyg_vig.tasks.segmentation import SegmentationConfig
        >>> SegmentationConfig(data="ade20k").decoder
        'fpn'
    """

    train_split: str = "training"
    val_split: str = "validation"
    segmenter: Literal["fpn", "upernet"] = "fpn"
    num_classes: int | None = None
    size: int = 512
    scale_min: float = 0.5
    scale_max: float = 2.0
    batch_size: int = 4
    epochs: int = 64
    weight_decay: float = 1e-4
    schedule: Schedule = "poly"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = self.num_classes is None or self.num_classes >= 1
        require(valid, "num_classes", self.num_classes, "at least 1")
        require(self.size >= 1, "size", self.size, "at least 1")
        require(
            0 < self.scale_min <= self.scale_max,
            "scale_min",
            self.scale_min,
            f"above 0 and at most scale_max ({self.scale_max})",
        )

    @property
    def decoder(self) -> str:
        """Name of the decoder."""
        return self.segmenter

    def resolve_defaults(self) -> SegmentationConfig:
        """Return the options with the classes counted, so that a resumed run need not read all annotations again."""
        count = self.num_classes or count_classes(self.data, self.train_split)
        return super().resolve_defaults().replace(num_classes=count or None)


class SegmentationRun(TaskRun):
    """Training run of a segmenter, see :class:`pyg_vig.train.training_run.TrainingRun`.

    Example:
        >>> from pyg_vig.tasks.segmentation import SegmentationConfig, SegmentationRun
        >>> SegmentationRun.start(SegmentationConfig(data="nowhere"))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        FileNotFoundError: ...
    """

    options = SegmentationConfig

    @classmethod
    def build(cls, config: SegmentationConfig) -> tuple[Segmentation, SegmentationData]:
        """Build the LightningModule and the data loaders that the options specify."""
        data = SegmentationData(
            config.data,
            config.train_split,
            config.val_split,
            size=config.size,
            scale=(config.scale_min, config.scale_max),
            batch_size=config.batch_size,
            flip=config.flip,
            seed=config.seed,
            workers=config.workers,
        )
        torch.manual_seed(config.seed)
        model = build_segmenter(
            config.segmenter,
            backbone=config.backbone,
            num_classes=config.num_classes or 0,
            weights=config.weights,
            freeze_norm=config.freeze_norm,
            backbone_options=config.backbone_options,
            options=config.options,
        )
        return Segmentation(model, config, config.size), data
