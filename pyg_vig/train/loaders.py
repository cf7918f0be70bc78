"""Data loaders whose images depend only on seed and epoch, split over all processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from pyg_vig.train.sampling import EpochSampler


class ImageDataModule(L.LightningDataModule):
    """LightningDataModule of training images, in a new order every epoch, and evaluation images.

    Order and augmentation depend only on seed and epoch, so an interrupted run resumes exactly, and the images of a
    step, over all processes, do not depend on the number of processes.

    Args:
        train_images: training dataset; its keys come from an :class:`~pyg_vig.train.sampling.EpochSampler`.
        val_images: evaluation dataset; its keys are indices.
        batch_size: images per optimizer step, over all processes and accumulated batches.
        collate: makes a batch from a list of items; may return ``None`` in evaluation to skip the batch.
        one_by_one: evaluate with batches of one image, for images of different sizes.
        accumulate: number of batches to accumulate gradients over.
        repeats: draws per image in an epoch.
        seed: random seed of the order.
        workers: processes that load images.

    Raises:
        ValueError: (when a loader is made) if ``batch_size`` is not divisible by processes times accumulated batches.
    """

    def __init__(
        self,
        train_images: Dataset[Any],
        val_images: Dataset[Any],
        batch_size: int,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        one_by_one: bool = False,
        accumulate: int = 1,
        repeats: int = 1,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train_images: Any = train_images
        self.val_images: Any = val_images
        self.batch_size = batch_size
        self.collate = collate
        self.one_by_one = one_by_one
        self.accumulate = accumulate
        self.repeats = repeats
        self.seed = seed
        self.workers = workers

    @property
    def skipped(self) -> int:
        """Number of unreadable images skipped so far; 0 unless a subclass skips images."""
        return 0

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the training images; an incomplete last step is dropped."""
        return DataLoader(
            self.train_images,
            self._local_batch_size(),
            sampler=self._sampler(),
            persistent_workers=self.workers > 0,
            **self._loader_kwargs(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of this process's share of the evaluation images."""
        return self._evaluation_loader(self.val_images)

    def images_of_batch(self, epoch: int, batch_idx: int) -> list[int]:
        """Return the indices of the training images in a batch of this process."""
        sampler = self._sampler()
        sampler.set_epoch(epoch)
        size = self._local_batch_size()
        return [index for _, index in list(sampler)[batch_idx * size : (batch_idx + 1) * size]]

    def _sampler(self) -> EpochSampler:
        rank, world_size = self._rank_and_world_size()
        return EpochSampler(
            len(self.train_images),
            self.seed,
            self.trainer.current_epoch if self.trainer else 0,
            batch_size=self.batch_size,
            repeats=self.repeats,
            rank=rank,
            world_size=world_size,
        )

    def _evaluation_loader(self, images: Any) -> DataLoader[Any]:
        rank, world_size = self._rank_and_world_size()
        indices = range(rank, len(images), world_size)
        size = 1 if self.one_by_one else self._local_batch_size()
        return EvaluationLoader(images, size, sampler=indices, **self._loader_kwargs())

    def _loader_kwargs(self) -> dict[str, Any]:
        pin_memory = torch.cuda.is_available()
        return {"num_workers": self.workers, "collate_fn": self.collate, "pin_memory": pin_memory}

    def _local_batch_size(self) -> int:
        """Return the number of images in a forward pass of this process."""
        world_size = self._rank_and_world_size()[1]
        if self.batch_size % (world_size * self.accumulate):
            raise ValueError(
                f"batch_size must be divisible by the number of processes times accumulate, {world_size} x "
                f"{self.accumulate}, got {self.batch_size}"
            )
        return self.batch_size // (world_size * self.accumulate)

    def _rank_and_world_size(self) -> tuple[int, int]:
        """Return the rank of this process and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class EvaluationLoader(DataLoader[Any]):
    """A loader that skips batches in which no image can be read."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return (batch for batch in super().__iter__() if batch is not None)
