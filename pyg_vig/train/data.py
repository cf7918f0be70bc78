"""Loaders of labelled images for Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyg_vig.train.datasets import Splits
from pyg_vig.train.sampling import EpochSampler, SeededDataset
from pyg_vig.train.transforms import evaluation_transform, training_transform


class ImageData(L.LightningDataModule):
    """Batches of images ``(B, C, size, size)`` and labels ``(B,)``.

    The order and the random changes of the training images depend on seed and epoch alone, so a run that was
    interrupted goes on exactly as it would have.

    Args:
        splits: the images, see :func:`~pyg_vig.train.load_splits`.
        size: side of the images in pixels.
        channels: channels of the images, 1 or 3; others are converted.
        batch_size: images of a batch.
        augment: random changes of the training images; by default those that suit the data.
        seed: seed of order and random changes.
        workers: processes that load images.

    Example:
        >>> from pyg_vig.train import ImageData, load_splits
        >>> data = ImageData(load_splits("digits"), size=32, channels=1)
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, labels.shape
        (torch.Size([64, 1, 32, 32]), torch.Size([64]))
    """

    def __init__(
        self,
        splits: Splits,
        size: int,
        channels: int,
        *,
        batch_size: int = 64,
        augment: str | None = None,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.training_transform = training_transform(augment or splits.augment, size, channels)
        self.evaluation_transform = evaluation_transform(size, channels, splits.crop)

    def train_dataloader(self) -> DataLoader[Any]:
        """All training images in a new order every epoch; an incomplete last batch is left out."""
        images = SeededDataset(self.splits.train, self.training_transform, self.seed)
        sampler = EpochSampler(len(images), self.seed, self.trainer.current_epoch if self.trainer else 0)
        drop_last = len(images) >= self.batch_size
        return self._loader(images, sampler=sampler, drop_last=drop_last, persistent_workers=self.workers > 0)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images."""
        return self._loader(Transformed(self.splits.validation, self.evaluation_transform))

    def test_dataloader(self) -> DataLoader[Any]:
        """The held-out images."""
        return self._loader(Transformed(self.splits.test, self.evaluation_transform))

    def _loader(self, images: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            images, self.batch_size, num_workers=self.workers, pin_memory=torch.cuda.is_available(), **options
        )


class Transformed(Dataset[tuple[Tensor, int]]):
    """A dataset seen through a transform of its images.

    Args:
        images: dataset of (image, label) pairs.
        transform: transform of the image.
    """

    def __init__(self, images: Dataset[Any], transform: Callable[[Any], Tensor]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label
