"""Randomness that depends on seed, epoch and image alone: not on the number of workers, nor on interruptions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order of all images every epoch; yields pairs of epoch and image for :class:`SeededDataset`.

    Args:
        size: number of images.
        seed: seed of the orders.
        epoch: the epoch to begin with; Lightning calls :meth:`set_epoch` before the next ones.

    Example:
        >>> from pyg_vig.train.sampling import EpochSampler
        >>> list(EpochSampler(3, seed=0)) == list(EpochSampler(3, seed=0))
        True
    """

    def __init__(self, size: int, seed: int, epoch: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        epoch = self.epoch
        return ((epoch, index) for index in torch.randperm(self.size, generator=generator).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch


class SeededDataset(Dataset[tuple[Tensor, int]]):
    """Images with a random transform whose random numbers are drawn anew for each epoch and image.

    Args:
        images: dataset of (image, label) pairs.
        transform: random transform of the image.
        seed: seed of the random numbers.
    """

    def __init__(self, images: Dataset[Any], transform: Callable[[Any], Tensor], seed: int) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        image, label = self.images[index]
        with random_state(mix(self.seed, epoch, index)):
            return self.transform(image), label


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed the global random numbers of PyTorch (CPU), NumPy and Python inside the context only.

    Transforms of other libraries draw from any of the three.
    """
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])


def mix(*numbers: int) -> int:
    """One well-mixed 62-bit seed out of several numbers.

    Example:
        >>> from pyg_vig.train.sampling import mix
        >>> mix(0, 1) == mix(0, 1), mix(0, 1) == mix(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 2
