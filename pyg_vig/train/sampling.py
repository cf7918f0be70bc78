"""Randomness that depends on seed, epoch and image alone: not on the number of workers, nor on interruptions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pyg_vig.train.reading import Unreadable

_TRIES = 100  # images tried, one after the other, where they cannot be read: if all fail, it is not the images


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order of all images every epoch, dealt out to the processes; yields pairs for
    :class:`SeededDataset`: the number of the draw of the image in the run (without repeats: the epoch), and the image.

    What the processes see in one step is together the same for any number of them.

    Args:
        size: number of images.
        seed: seed of the orders.
        epoch: the epoch to begin with; Lightning calls :meth:`set_epoch` before the next ones.
        batch_size: images of a step in all processes; an incomplete last step is left out.
        repeats: draws of an image in an epoch, one after the other, which lands them in different processes where
            there are several (repeated augmentation, `arXiv 1901.09335 <https://arxiv.org/abs/1901.09335>`_). The
            length of an epoch stays, so it leaves images out.
        rank: number of this process.
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
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator).tolist()
        first, repeats = self.epoch * self.repeats, self.repeats
        places = range(self.rank, self.total, self.world_size)
        return ((first + place % repeats, order[place // repeats]) for place in places)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch


class SeededDataset(Dataset[Any]):
    """Images with a random transform whose random numbers are new for each image and each time it is drawn.

    Images that cannot be read come as :class:`~pyg_vig.train.reading.Unreadable`, followed by the one that takes their
    place, so that a step always learns from the same number of images.

    Args:
        images: dataset of (image, label) pairs.
        transform: random transform of the image.
        seed: seed of the random numbers.

    Raises:
        ValueError: (when items are taken) if too many images in a row cannot be read.
    """

    def __init__(self, images: Dataset[Any], transform: Callable[[Any], Tensor], seed: int) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Any]:
        """A batch, for PyTorch's loader; all images in one context, as saving a random state is what takes time."""
        with kept_random_state():
            return [item for draw, index in keys for item in self._readable(draw, index)]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.__getitems__([key])[-1]

    def _readable(self, draw: int, index: int) -> Iterator[Any]:
        """The image; where it cannot be read, that is told, and the next image that can be takes its place."""
        tries = min(_TRIES, len(self))
        for offset in range(tries):
            item = self._changed(draw, (index + offset) % len(self))
            yield item
            if not isinstance(item, Unreadable):
                return
        raise ValueError(f"{tries} images in a row cannot be read, the last one {item.path} ({item.reason})")

    def _changed(self, draw: int, index: int) -> Any:
        item = self.images[index]
        if isinstance(item, Unreadable):
            return item
        _seed_all(mix(self.seed, draw, index))
        return self.transform(item[0]), item[1]


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed the global random numbers of PyTorch (CPU), NumPy and Python inside the context only.

    Transforms of other libraries draw from any of the three.
    """
    with kept_random_state():
        _seed_all(seed)
        yield


@contextmanager
def kept_random_state() -> Iterator[None]:
    """After the context, the global random numbers go on as if there had been none drawn."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])


def _seed_all(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def mix(*numbers: int) -> int:
    """One well-mixed 62-bit seed out of several numbers.

    Example:
        >>> from pyg_vig.train.sampling import mix
        >>> mix(0, 1) == mix(0, 1), mix(0, 1) == mix(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 2
