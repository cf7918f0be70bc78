"""Semantic segmentation data sets in ADE20K's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from pyg_vig.tasks.reading import open_image, read_rgb
from pyg_vig.train.loaders import ImageDataModule
from pyg_vig.train.sampling import derive_seed, seeded_rng

IGNORE_INDEX = 255  # target value of pixels without a label
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}

Sample = tuple[Tensor, Tensor]


class SegmentationImages(Dataset[Sample]):
    """One split of a data set: ``ROOT/images/SPLIT/NAME.jpg`` with ``ROOT/annotations/SPLIT/NAME.png``.

    In the annotation files, 0 marks pixels without a label and classes start at 1, as in ADE20K. In the targets
    ``(H, W)``, classes start at 0 and 255 marks pixels without a label. Images ``(3, H, W)`` are in [0, 1].

    Args:
        root: folder of the data set.
        split: name of the split; empty if the data set has no folders for splits.
        transform: torchvision transform of (image, mask) pairs; none by default.
        seed: seed of the transform's random numbers.

    Raises:
        FileNotFoundError: if there are no images, or an image has no annotation.
    """

    def __init__(self, root: str | Path, split: str, *, transform: v2.Transform | None = None, seed: int = 0) -> None:
        folder = Path(root) / "images" / split
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        self.images = [file for file in files if file.suffix.lower() in _IMAGE_SUFFIXES]
        if not self.images:
            raise FileNotFoundError(
                f"there are no images in {folder}: ADE20K's layout is images/SPLIT/*.jpg, annotations/SPLIT/*.png"
            )
        self.annotations = [Path(root) / "annotations" / split / f"{file.stem}.png" for file in self.images]
        missing = [file for file in self.annotations if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{len(missing)} images have no annotation: the first missing file is {missing[0]}")
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        draw, index = key if isinstance(key, tuple) else (0, key)
        image = read_rgb(self.images[index])
        mask = tv_tensors.Mask(read_mask(self.annotations[index]))
        if self.transform is not None:
            with seeded_rng(derive_seed(self.seed, draw, index)):
                image, mask = self.transform(image, mask)
        image = v2.functional.to_dtype(image, torch.float32, scale=True)
        return image.as_subclass(Tensor), mask.as_subclass(Tensor).long()


def read_mask(path: str | Path) -> Tensor:
    """Read an annotation file as classes ``(H, W)`` uint8, starting at 0, with 255 for pixels without a label."""
    with open_image(path) as file:
        return torch.from_numpy(np.array(file, dtype=np.uint8) - np.uint8(1))  # 0 wraps around to 255


def count_classes(root: str | Path, split: str) -> int:
    """Return the largest class in the annotations of a split, counted from 1."""
    files = sorted((Path(root) / "annotations" / split).glob("*.png"))
    return max((_largest_label(file) for file in files), default=0)


def _largest_label(path: Path) -> int:
    with open_image(path) as file:
        return int(np.asarray(file).max())


def training_transform(size: int, scale: tuple[float, float], flip: bool) -> v2.Transform:
    """Build the training transform: random resizing, random crop and random horizontal flip.

    Args:
        size: side of the crop in pixels; padding beyond the image has no label.
        scale: range of the shorter side before the crop, in multiples of ``size``; equal bounds give a fixed size.
        flip: whether to flip half of the images horizontally.
    """
    low, high = (round(size * factor) for factor in scale)
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_INDEX}
    return v2.Compose(
        [
            v2.RandomShortestSize(list(range(low, high + 1, 8)), antialias=True),
            v2.RandomCrop(size, pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
        ]
    )


class SegmentationData(ImageDataModule):
    """Data loaders for a data set in ADE20K's layout.

    Args:
        root: folder of the data set.
        train_split: split to train on.
        val_split: split to evaluate on, one image at a time and at its own size.
        size: side of the training crops in pixels.
        scale: see :func:`training_transform`.
        batch_size: images per step, over all processes.
        flip: flip training images horizontally at random.
        seed: seed of the order and of the random transforms.
        workers: processes that load images.

    Raises:
        FileNotFoundError: if a file or folder is missing.
    """

    def __init__(
        self,
        root: str | Path,
        train_split: str = "training",
        val_split: str = "validation",
        *,
        size: int = 512,
        scale: tuple[float, float] = (0.5, 2.0),
        batch_size: int = 4,
        flip: bool = True,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        transform = training_transform(size, scale, flip)
        train_images = SegmentationImages(root, train_split, transform=transform, seed=seed)
        val_images = SegmentationImages(root, val_split)
        super().__init__(train_images, val_images, batch_size, one_by_one=True, seed=seed, workers=workers)
