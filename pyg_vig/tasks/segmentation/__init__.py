"""Semantic segmentation: decoders of segmentation-models-pytorch on any backbone."""

from pyg_vig.tasks.segmentation.ade20k import SegmentationData, SegmentationImages
from pyg_vig.tasks.segmentation.module import Segmentation
from pyg_vig.tasks.segmentation.run import SegmentationConfig, SegmentationRun
from pyg_vig.tasks.segmentation.segmenter import Segmenter, SegmenterConfig, build_segmenter, segment

__all__ = [
    "Segmentation",
    "SegmentationConfig",
    "SegmentationData",
    "SegmentationImages",
    "SegmentationRun",
    "Segmenter",
    "SegmenterConfig",
    "build_segmenter",
    "segment",
]
