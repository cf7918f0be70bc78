"""Image folders whose unreadable images are logged, counted and skipped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ctypes import c_int64
from multiprocessing import Value
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder

from pyg_vig.transforms.photo import open_photo

logger = logging.getLogger(__name__)


class UnreadableImage(NamedTuple):
    """Placeholder in a data set for an image that cannot be read.

    Attributes:
        path: path of the file.
        reason: description of the error.
    """

    path: str
    reason: str


class ReadableFolder(ImageFolder):
    """Images in one folder per class, rotated upright; unreadable images are returned as :class:`UnreadableImage`.

    Args:
        root: folder that contains the class folders.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, loader=open_photo)

    def __getitem__(self, index: int) -> Any:
        try:
            return super().__getitem__(index)
        except Exception as error:  # decoders raise all kinds of errors for broken files
            return UnreadableImage(self.samples[index][0], f"{type(error).__name__}: {error}")


class CollateReadable:
    """Collates readable images and labels into batches, and logs the unreadable ones.

    Attributes:
        skipped: number of images skipped so far, over all loader workers.

    """

    def __init__(self) -> None:
        self._count = Value(c_int64)

    @property
    def skipped(self) -> int:
        """Number of images skipped so far."""
        return self._count.value

    def __call__(self, items: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
        """Return images ``(B, C, H, W)`` and labels ``(B,)``, or ``None`` if no image is readable."""
        unreadable = [item for item in items if isinstance(item, UnreadableImage)]
        for path, reason in unreadable:
            logger.warning("skipped unreadable image %s (%s)", path, reason)
        with self._count.get_lock():
            self._count.value += len(unreadable)
        if len(unreadable) == len(items):
            return None
        images, labels = zip(*(item for item in items if not isinstance(item, UnreadableImage)), strict=True)
        return torch.stack(images), torch.tensor(labels)
