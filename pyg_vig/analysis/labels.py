"""Labels of patches, from a mask of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

UNLABELLED = -1  # label of a patch that has none


def patch_labels(mask: Tensor, grid: tuple[int, int], *, ignore: int = UNLABELLED) -> Tensor:
    """Return the most frequent label among the pixels of every patch (the smallest of them, if tied).

    Args:
        mask: labels of the pixels, ``(H, W)`` integers, such as a semantic segmentation mask.
        grid: height and width in patches; if they do not divide the mask, patches share pixels at their borders.
        ignore: label of pixels that do not count.

    Returns:
        ``(H_p, W_p)`` int64; -1 for patches without a pixel that counts.

    Raises:
        ValueError: for a mask of the wrong shape or dtype, or smaller than the grid.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import patch_labels
        >>> patch_labels(torch.tensor([[3, 3, 5, 5], [3, 7, 5, 5]]), (1, 2)).tolist()
        [[3, 5]]
    """
    if mask.dim() != 2 or mask.is_floating_point():
        raise ValueError(f"mask must be integers of shape (H, W), got {mask.dtype} of shape {tuple(mask.shape)}")
    if mask.size(0) < grid[0] or mask.size(1) < grid[1]:
        raise ValueError(f"mask of {tuple(mask.shape)} pixels is smaller than the grid of {grid} patches")
    classes, index = mask.unique(return_inverse=True)
    shares = F.adaptive_avg_pool2d(F.one_hot(index, len(classes)).permute(2, 0, 1).double(), grid)
    shares[classes == ignore] = 0
    largest, label = shares.max(0)
    return torch.where(largest > 0, classes.long()[label], UNLABELLED)
