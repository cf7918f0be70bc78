"""Data loaders of labelled images for Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyg_vig.models import ModelConfig
from pyg_vig.preprocessing import transform_for
from pyg_vig.train.config import RunConfig
from pyg_vig.train.datasets import Splits
from pyg_vig.train.image_folder import CollateReadable, UnreadableImage
from pyg_vig.train.loaders import ImageDataModule
from pyg_vig.train.sampling import SeededDataset
from pyg_vig.train.transforms import training_transform


class ImageData(ImageDataModule):
    """Batches of images ``(B, C, size, size)`` and labels ``(B,)``, preprocessed for a network.

    Unreadable images are logged, counted and skipped.

    Args:
        splits: the images, see :func:`~pyg_vig.train.load_splits`.
        network: configuration of the network, which gives size, channels and normalisation of the images.
        config: options of the run, of which those of the images, ``batch_size``, ``accumulate`` and ``seed`` are used.

    Raises:
        ValueError: if the number of channels is not 1 or 3, or (when a loader is made) the batch size cannot be split
            over the processes.

    Example:
        >>> from pyg_vig.models import get_config
        >>> from pyg_vig.train import ImageData, RunConfig, load_splits
        >>> data = ImageData(load_splits("digits"), get_config("vig_nano", in_channels=1), RunConfig())
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, labels.shape
        (torch.Size([64, 1, 32, 32]), torch.Size([64]))
    """

    def __init__(self, splits: Splits, network: ModelConfig, config: RunConfig) -> None:
        train_transform = training_transform(
            splits.augment if config.augment == "auto" else config.augment,
            network.image_size,
            network.in_channels,
            rand_augment=config.rand_augment,
            erase=config.erase,
            mean=network.mean,
            std=network.std,
        )
        eval_transform = transform_for(network, crop=splits.crop)
        collate = CollateReadable()
        super().__init__(
            SeededDataset(splits.train, train_transform, config.seed),
            TransformedDataset(splits.validation, eval_transform),
            config.batch_size,
            collate=collate,
            accumulate=config.accumulate,
            repeats=config.repeats,
            seed=config.seed,
            workers=config.workers,
        )
        self.splits = splits
        self.collate_readable = collate
        self.test_images = TransformedDataset(splits.test, eval_transform)

    @property
    def skipped(self) -> int:
        """Number of unreadable images skipped so far by this process and its loader workers."""
        return self.collate_readable.skipped

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of this process's share of the held-out images."""
        return self._evaluation_loader(self.test_images)


class TransformedDataset(Dataset[Any]):
    """A dataset whose images are transformed on access.

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
        return item if isinstance(item, UnreadableImage) else (self.transform(item[0]), item[1])
