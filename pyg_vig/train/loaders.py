"""Loaders whose images depend on seed and epoch alone, shared by all processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from pyg_vig.train.sampling import EpochSampler


class ImageLoaders(L.LightningDataModule):
    """Loaders of training images in a new order every epoch, and of images to evaluate on.

    Order and random changes depend on seed and epoch alone, so a run that was interrupted goes on exactly as it would
    have; and all processes of a step together see the same images, however many they are.

    Args:
        train_images: to learn from; keys are draws of an :class:`~pyg_vig.train.sampling.EpochSampler`.
        val_images: to evaluate on; keys are numbers.
        batch_size: images of one step of the optimizer, in all processes and accumulated batches together.
        collate: makes a batch of a list of items; ``None`` (in evaluation) to go on with the next one.
        one_by_one: evaluate image by image, where their sizes differ.
        accumulate: batches whose gradients make up a step.
        repeats: draws of an image in an epoch.
        seed: seed of the order.
        workers: processes that load images.

    Raises:
        ValueError: (when a loader is made) for a batch size that processes and accumulated batches cannot share.
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
        """Images that were left out so far, as they could not be read: none, unless a subclass leaves any out."""
        return 0

    def train_dataloader(self) -> DataLoader[Any]:
        """Training images; an incomplete last step is left out."""
        return DataLoader(
            self.train_images,
            self._local_batch(),
            sampler=self._sampler(),
            persistent_workers=self.workers > 0,
            **self._reading(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """This process's share of the images to evaluate on."""
        return self._evaluation_loader(self.val_images)

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
            repeats=self.repeats,
            rank=rank,
            world_size=world_size,
        )

    def _evaluation_loader(self, images: Any) -> DataLoader[Any]:
        rank, world_size = self._process()
        share = range(rank, len(images), world_size)
        size = 1 if self.one_by_one else self._local_batch()
        return EvaluationLoader(images, size, sampler=share, **self._reading())

    def _reading(self) -> dict[str, Any]:
        pin = torch.cuda.is_available()
        return {"num_workers": self.workers, "collate_fn": self.collate, "pin_memory": pin}

    def _local_batch(self) -> int:
        """Images of one forward pass of this process."""
        world_size = self._process()[1]
        if self.batch_size % (world_size * self.accumulate):
            raise ValueError(
                f"batch_size counts the images of all processes and accumulated batches: {self.batch_size} "
                f"cannot be shared by {world_size} x {self.accumulate}"
            )
        return self.batch_size // (world_size * self.accumulate)

    def _process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class EvaluationLoader(DataLoader[Any]):
    """A loader without the batches of which nothing can be read."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return (batch for batch in super().__iter__() if batch is not None)
