"""Loaders that the dense tasks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from pyg_vig.train.sampling import EpochSampler


class TaskData(L.LightningDataModule):
    """Loaders of training images in a new order every epoch, and of images to evaluate on.

    Order and random changes depend on seed and epoch alone; several processes share the images.

    Args:
        train_images: to learn from; keys are draws of an :class:`~pyg_vig.train.sampling.EpochSampler`.
        val_images: to evaluate on; keys are numbers.
        batch_size: images of one step in all processes.
        collate: makes a batch of a list of items.
        one_by_one: evaluate image by image, where their sizes differ.
        seed: seed of the order.
        workers: processes that load images.

    Raises:
        ValueError: if the processes cannot share a batch.
    """

    def __init__(
        self,
        train_images: Dataset[Any],
        val_images: Dataset[Any],
        batch_size: int,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        one_by_one: bool = False,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train_images: Any = train_images
        self.val_images: Any = val_images
        self.batch_size = batch_size
        self.collate = collate
        self.one_by_one = one_by_one
        self.seed = seed
        self.workers = workers

    def train_dataloader(self) -> DataLoader[Any]:
        """Training images; an incomplete last step is left out."""
        return self._loader(self.train_images, self._local_batch(), self._sampler())

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the images to evaluate on."""
        rank, world_size = self._process()
        share = range(rank, len(self.val_images), world_size)
        return self._loader(self.val_images, 1 if self.one_by_one else self._local_batch(), share)

    def images_of_batch(self, epoch: int, batch_idx: int) -> list[int]:
        """Which training images this process sees in a batch."""
        sampler = self._sampler()
        sampler.set_epoch(epoch)
        size = self._local_batch()
        return [index for _, index in list(sampler)[batch_idx * size : (batch_idx + 1) * size]]

    def _sampler(self) -> EpochSampler:
        rank, world_size = self._process()
        return EpochSampler(
            len(self.train_images),
            self.seed,
            self.trainer.current_epoch if self.trainer else 0,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _loader(self, images: Dataset[Any], batch_size: int, sampler: Any) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
        )

    def _local_batch(self) -> int:
        world_size = self._process()[1]
        if self.batch_size % world_size:
            raise ValueError(f"{world_size} processes cannot share a batch of {self.batch_size}: take a multiple")
        return self.batch_size // world_size

    def _process(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
