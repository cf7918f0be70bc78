"""Draw predictions on their image with torchvision."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

_HUE_STEP = 0.618034  # turns of the colour wheel from one class to the next: consecutive classes get distinct colours
_MASK_THRESHOLD = 0.5  # threshold of soft masks: larger values belong to the object
_OPACITY = 0.5  # of masks over the image


def palette(count: int) -> list[tuple[int, int, int]]:
    """Return one colour per class, the same in every picture.

    Example:
        >>> from pyg_vig.tasks.drawing import palette
        >>> palette(2)
        [(242, 73, 73), (73, 122, 242)]
    """
    colors = (colorsys.hsv_to_rgb(i * _HUE_STEP % 1, 0.7, 0.95) for i in range(count))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def draw_detections(
    image: Tensor, prediction: dict[str, Tensor], classes: Sequence[str] = (), *, threshold: float = 0.5
) -> Tensor:
    """Draw boxes with class and score, and masks if the prediction has any.

    Args:
        image: ``(3, H, W)`` uint8.
        prediction: ``boxes``, ``labels``, ``scores`` and optionally ``masks``, as a detector returns them.
        classes: class names, starting with that of label 1; by default the label numbers are written.
        threshold: minimum score; detections below it are not drawn.

    Returns:
        The picture ``(3, H, W)`` uint8.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.drawing import draw_detections
        >>> box = {"boxes": torch.tensor([[4.0, 4, 30, 30]]), "labels": torch.tensor([1]), "scores": torch.ones(1)}
        >>> draw_detections(torch.zeros(3, 40, 40, dtype=torch.uint8), box, ["cat"]).shape
        torch.Size([3, 40, 40])
    """
    keep = prediction["scores"] >= threshold
    labels, scores = prediction["labels"][keep].tolist(), prediction["scores"][keep].tolist()
    if not labels:
        return image
    colors = palette(max(labels) + 1)
    instance_colors = [colors[label] for label in labels]
    if "masks" in prediction:
        masks = prediction["masks"][keep][:, 0] > _MASK_THRESHOLD
        image = draw_segmentation_masks(image, masks, alpha=_OPACITY, colors=instance_colors)
    captions = [
        f"{classes[label - 1] if classes else label} {score:.2f}" for label, score in zip(labels, scores, strict=True)
    ]
    return draw_bounding_boxes(image, prediction["boxes"][keep], captions, colors=instance_colors, width=2)


def draw_classes(image: Tensor, classes: Tensor) -> Tensor:
    """Draw a class map over the image, one colour per class.

    Args:
        image: ``(3, H, W)`` uint8.
        classes: class of every pixel ``(H, W)``; values from 255 on are not drawn.

    Example:
        >>> import torch
        >>> from pyg_vig.tasks.drawing import draw_classes
        >>> draw_classes(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.int64)).shape
        torch.Size([3, 4, 4])
    """
    present = [value for value in classes.unique().tolist() if value < 255]
    if not present:
        return image
    colors = palette(max(present) + 1)
    masks = torch.stack([classes == value for value in present])
    return draw_segmentation_masks(image, masks, alpha=_OPACITY, colors=[colors[value] for value in present])
