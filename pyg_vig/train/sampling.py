"""Randomness that depends only on seed, epoch and image, not on the number of workers or on interruptions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pyg_vig.train.image_folder import UnreadableImage

_MAX_UNREADABLE = 100  # consecutive unreadable images before giving up: the cause is then not single images


class EpochSampler(Sampler[tuple[int, int]]):
    """Shuffles all images every epoch and distributes them over the processes.

    Yields pairs for :class:`SeededDataset`: the draw number (which draw of the image it is in the run; without repeats,
    the epoch) and the image index. The images of a step, over all processes, do not depend on the number of processes.

    Args:
        size: number of images.
        seed: random seed of the shuffling.
        epoch: first epoch; Lightning calls :meth:`set_epoch` before the following ones.
        batch_size: images per step over all processes; an incomplete last step is dropped.
        repeats: consecutive draws of an image in an epoch, which go to different processes if there are several
            (repeated augmentation, `arXiv 1901.09335 <https://arxiv.org/abs/1901.09335>`_). The length of an epoch
            does not change, so an epoch covers only a part of the images.
        rank: rank of this process.
        world_size: number of processes.

    Example:
        >>> from pyg_vig.train.sampling import EpochSampler
        >>> list(EpochSampler(3, seed=0)) == list(EpochSampler(3, seed=0))
        True
    """

    def __init__(
        self,
        size: int,
        seed: int,
        epoch: int = 0,
        *,
        batch_size: int = 1,
        repeats: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size = size
        self.seed = seed
        self.epoch = epoch
        self.repeats = repeats
        self.rank = rank
        self.world_size = world_size
        self.total = size // batch_size * batch_size if size >= batch_size else size // world_size * world_size

    def __len__(self) -> int:
        return self.total // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator).tolist()
        first_draw, repeats = self.epoch * self.repeats, self.repeats
        positions = range(self.rank, self.total, self.world_size)
        return ((first_draw + position % repeats, order[position // repeats]) for position in positions)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order."""
        self.epoch = epoch


class SeededDataset(Dataset[Any]):
    """Images with a random transform, seeded for each image and each draw of it.

    An unreadable image is returned as :class:`~pyg_vig.train.image_folder.UnreadableImage`, followed by the image that
    replaces it, so that every step trains on the same number of images.

    Args:
        images: dataset of (image, label) pairs.
        transform: random transform of the image.
        seed: random seed.

    Raises:
        ValueError: (when an item is accessed) if too many consecutive images cannot be read.
    """

    def __init__(self, images: Dataset[Any], transform: Callable[[Any], Tensor], seed: int) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Any]:
        """Return a batch for PyTorch's loader, saving the random state only once, as that is slow."""
        with preserve_rng_state():
            return [item for draw, index in keys for item in self._image_or_replacement(draw, index)]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.__getitems__([key])[-1]

    def _image_or_replacement(self, draw: int, index: int) -> Iterator[Any]:
        """Yield the image, or if it is unreadable, placeholders followed by the next readable image."""
        limit = min(_MAX_UNREADABLE, len(self))
        for offset in range(limit):
            item = self._transformed(draw, (index + offset) % len(self))
            yield item
            if not isinstance(item, UnreadableImage):
                return
        raise ValueError(f"{limit} consecutive images cannot be read, the last one is {item.path} ({item.reason})")

    def _transformed(self, draw: int, index: int) -> Any:
        item = self.images[index]
        if isinstance(item, UnreadableImage):
            return item
        _seed_all(derive_seed(self.seed, draw, index))
        return self.transform(item[0]), item[1]


@contextmanager
def seeded_rng(seed: int) -> Iterator[None]:
    """Seed the global random number generators of PyTorch (CPU), NumPy and Python inside the context only.

    Transforms of other libraries may use any of the three.
    """
    with preserve_rng_state():
        _seed_all(seed)
        yield


@contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Restore the state of the global random number generators after the context."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _seed_all(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def derive_seed(*numbers: int) -> int:
    """Hash several numbers into a 62-bit seed.

    Example:
        >>> from pyg_vig.train.sampling import derive_seed
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 2
