"""COCO's mean average precision of boxes and masks, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed as dist
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

_METRICS = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
_MASK_THRESHOLD = 0.5  # threshold of soft masks: larger values belong to the object


class AveragePrecision:
    """Collect detections image by image and compare them with the annotations.

    Args:
        coco: the annotations.
        categories: COCO's category id of every class, starting with that of label 1.

    Example:
        >>> from pycocotools.coco import COCO
        >>> from pyg_vig.tasks.detection import AveragePrecision
        >>> AveragePrecision(COCO(), [1, 2]).compute()
        {}
    """

    def __init__(self, coco: COCO, categories: Sequence[int]) -> None:
        self.coco = coco
        self.categories = list(categories)
        self.reset()

    def reset(self) -> None:
        """Discard all detections."""
        self.detections: dict[int, dict[str, list[dict[str, Any]]]] = {}

    def update(self, image_ids: Sequence[int], predictions: Sequence[dict[str, Tensor]]) -> None:
        """Add the predictions of a detector for a batch.

        Args:
            image_ids: COCO's id of every image.
            predictions: ``boxes``, ``labels``, ``scores`` and optionally ``masks`` of every image.
        """
        for image_id, prediction in zip(image_ids, predictions, strict=True):
            self.detections[image_id] = {"bbox": self._boxes(image_id, prediction)}
            if "masks" in prediction:
                self.detections[image_id]["segm"] = self._masks(image_id, prediction)

    def compute(self) -> dict[str, float]:
        """Return COCO's metrics, such as ``box_map``, ``box_map50``, ``mask_map``, over all processes."""
        gathered = [self.detections]
        if dist.is_available() and dist.is_initialized():
            gathered = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(gathered, self.detections)
        detections = {image_id: by_type for local in gathered for image_id, by_type in local.items()}
        metrics: dict[str, float] = {}
        for iou_type, name in (("bbox", "box"), ("segm", "mask")):
            images = [image_id for image_id, by_type in detections.items() if iou_type in by_type]
            results = [result for image_id in images for result in detections[image_id][iou_type]]
            if images:
                values = self._evaluate(iou_type, images, results)
                metrics |= {f"{name}_{metric}": value for metric, value in zip(_METRICS, values, strict=True)}
        return metrics

    def _evaluate(self, iou_type: str, images: list[int], results: list[dict[str, Any]]) -> list[float]:
        if not results:
            return [0.0] * len(_METRICS)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            evaluation = COCOeval(self.coco, self.coco.loadRes(results), iou_type)
            evaluation.params.imgIds = images
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats[: len(_METRICS)]]

    def _boxes(self, image_id: int, prediction: dict[str, Tensor]) -> list[dict[str, Any]]:
        corners = prediction["boxes"].float().cpu()
        boxes = corners.clone()
        boxes[:, 2:] -= corners[:, :2]  # COCO: corner, width, height
        return self._results(image_id, prediction, "bbox", boxes.tolist())

    def _masks(self, image_id: int, prediction: dict[str, Tensor]) -> list[dict[str, Any]]:
        masks = (prediction["masks"][:, 0] > _MASK_THRESHOLD).cpu().numpy().astype(np.uint8)
        return self._results(image_id, prediction, "segmentation", [encode_rle(mask) for mask in masks])

    def _results(
        self, image_id: int, prediction: dict[str, Tensor], field: str, values: list[Any]
    ) -> list[dict[str, Any]]:
        labels, scores = prediction["labels"].tolist(), prediction["scores"].tolist()
        return [
            {"image_id": image_id, "category_id": self.categories[label - 1], "score": score, field: value}
            for label, score, value in zip(labels, scores, values, strict=True)
        ]


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encode a binary mask ``(H, W)`` in COCO's run-length format."""
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
