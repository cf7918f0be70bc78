"""Detection and instance segmentation: torchvision's RetinaNet and Mask R-CNN on any backbone."""

from pyg_vig.tasks.detection.average_precision import AveragePrecision
from pyg_vig.tasks.detection.coco import CocoData, CocoImages
from pyg_vig.tasks.detection.complexity import Part, count_parts
from pyg_vig.tasks.detection.detector import DetectorConfig, build_detector
from pyg_vig.tasks.detection.module import Detection
from pyg_vig.tasks.detection.run import DetectionConfig, DetectionRun

__all__ = [
    "AveragePrecision",
    "CocoData",
    "CocoImages",
    "Detection",
    "DetectionConfig",
    "DetectionRun",
    "DetectorConfig",
    "Part",
    "build_detector",
    "count_parts",
]
