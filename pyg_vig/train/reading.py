"""Folders of images, of which some cannot be read: those are named, counted and left out."""

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


class Unreadable(NamedTuple):
    """Stands in a data set for an image that cannot be read.

    Attributes:
        path: the file.
        reason: what went wrong.
    """

    path: str
    reason: str


class ReadableFolder(ImageFolder):
    """Images in folders by class, upright; those that cannot be read come as :class:`Unreadable`.

    Args:
        root: folder of the classes' folders.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, loader=open_photo)

    def __getitem__(self, index: int) -> Any:
        try:
            return super().__getitem__(index)
        except Exception as error:  # what decoders raise for broken files is no closed list
            return Unreadable(self.samples[index][0], f"{type(error).__name__}: {error}")


class Collate:
    """Batches of images and labels out of what could be read; names the rest in the log.

    Attributes:
        skipped: number of images left out so far, counted over all loading processes.

    """

    def __init__(self) -> None:
        self._count = Value(c_int64)

    @property
    def skipped(self) -> int:
        """Images left out so far."""
        return self._count.value

    def __call__(self, items: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
        """Images ``(B, C, H, W)`` and labels ``(B,)``; ``None`` where nothing can be read."""
        bad = [item for item in items if isinstance(item, Unreadable)]
        for path, reason in bad:
            logger.warning("skipped %s, which cannot be read (%s)", path, reason)
        with self._count.get_lock():
            self._count.value += len(bad)
        if len(bad) == len(items):
            return None
        images, labels = zip(*(item for item in items if not isinstance(item, Unreadable)), strict=True)
        return torch.stack(images), torch.tensor(labels)
