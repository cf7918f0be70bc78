"""Loaders of labelled images for Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyg_vig.models import ModelConfig
from pyg_vig.train.config import RunConfig
from pyg_vig.train.datasets import Splits
from pyg_vig.train.reading import Collate, Unreadable
from pyg_vig.train.sampling import EpochSampler, SeededDataset
from pyg_vig.train.transforms import evaluation_transform, training_transform


class ImageData(L.LightningDataModule):
    """Batches of images ``(B, C, size, size)`` and labels ``(B,)``, as a network takes them.

    The order and the random changes of the training images depend on seed and epoch alone, so a run that was
    interrupted goes on exactly as it would have; and all processes of a step together see the same images, however
    many they are. Images that cannot be read are named in the log, counted and left out.

    Args:
        splits: the images, see :func:`~pyg_vig.train.load_splits`.
        network: configuration of the network: size, channels and normalisation of the images.
        config: the options of the run, of which it reads those of the images, ``batch_size`` and ``seed``.

    Raises:
        ValueError: for another number of channels than 1 or 3, or (when a loader is made) for a batch size that
            the processes cannot share.

    Example:
        >>> from pyg_vig.models import get_config
        >>> from pyg_vig.train import ImageData, RunConfig, load_splits
        >>> data = ImageData(load_splits("digits"), get_config("vig_nano", in_channels=1), RunConfig())
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, labels.shape
        (torch.Size([64, 1, 32, 32]), torch.Size([64]))
    """

    def __init__(self, splits: Splits, network: ModelConfig, config: RunConfig) -> None:
        super().__init__()
        self.splits = splits
        self.config = config
        size, channels = network.image_size, network.in_channels
        pixels = {"mean": network.mean, "std": network.std}
        augment = splits.augment if config.augment == "auto" else config.augment
        self.training_transform = training_transform(
            augment, size, channels, rand_augment=config.rand_augment, erase=config.erase, **pixels
        )
        self.evaluation_transform = evaluation_transform(size, channels, splits.crop, **pixels)
        self.collate = Collate()

    @property
    def skipped(self) -> int:
        """Images that could not be read, so far, in this process and its loaders."""
        return self.collate.skipped

    def train_dataloader(self) -> DataLoader[Any]:
        """All training images in a new order every epoch; an incomplete last step is left out."""
        images = SeededDataset(self.splits.train, self.training_transform, self.config.seed)
        return self._loader(images, self._sampler(), persistent_workers=self.config.workers > 0)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images."""
        return self._evaluation_loader(self.splits.validation)

    def test_dataloader(self) -> DataLoader[Any]:
        """The held-out images."""
        return self._evaluation_loader(self.splits.test)

    def images_of_batch(self, epoch: int, batch_idx: int) -> list[int]:
        """Which training images this process sees in a batch, as indices into ``splits.train``."""
        sampler = self._sampler()
        sampler.set_epoch(epoch)
        size = self._local_batch()
        return [index for _, index in list(sampler)[batch_idx * size : (batch_idx + 1) * size]]

    def _sampler(self) -> EpochSampler:
        rank, world_size = self._process()
        return EpochSampler(
            len(self.splits.train),  # type: ignore[arg-type]
            self.config.seed,
            self.trainer.current_epoch if self.trainer else 0,
            batch_size=self.config.batch_size,
            repeats=self.config.repeats,
            rank=rank,
            world_size=world_size,
        )

    def _evaluation_loader(self, images: Dataset[Any]) -> DataLoader[Any]:
        rank, world_size = self._process()
        share = range(rank, len(images), world_size)  # type: ignore[arg-type]
        return self._loader(Transformed(images, self.evaluation_transform), share)

    def _loader(self, images: Dataset[Any], sampler: Any, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            images,
            self._local_batch(),
            sampler=sampler,
            num_workers=self.config.workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _local_batch(self) -> int:
        """Images of one forward pass of this process."""
        parts = self._process()[1] * self.config.accumulate
        if self.config.batch_size % parts:
            raise ValueError(
                f"batch_size counts the images of all processes and accumulated batches: {self.config.batch_size} "
                f"cannot be shared by {parts // self.config.accumulate} x {self.config.accumulate}"
            )
        return self.config.batch_size // parts

    def _process(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class Transformed(Dataset[Any]):
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

    def __getitem__(self, index: int) -> Any:
        item = self.images[index]
        return item if isinstance(item, Unreadable) else (self.transform(item[0]), item[1])
