"""Data sets of labelled images by name, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision import datasets

from pyg_vig.train.image_folder import ReadableFolder

_SPLIT_SEED = 0  # for splits made here: every run holds out the same images
_VALIDATION_FRACTION = 0.1  # fraction of the training images, for data without a validation split


class Splits(NamedTuple):
    """Training, validation and test datasets of (image, label) pairs, with the properties that a network needs.

    Attributes:
        train: training images.
        validation: images to monitor the training with.
        test: images held out until the end.
        classes: class names.
        channels: number of image channels.
        augment: augmentation that suits the images, see :mod:`pyg_vig.train.transforms`.
        crop: fraction of the shorter side that the centre crop keeps in evaluation.

    Example:
        >>> from pyg_vig.train import load_splits
        >>> load_splits("digits").classes[:3]
        ['0', '1', '2']
    """

    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    classes: list[str]
    channels: int
    augment: str
    crop: float = 1.0


class LabeledImages(Dataset[tuple[Tensor, int]]):
    """Labelled images in memory.

    Args:
        images: uint8 images ``(N, C, H, W)``.
        targets: classes ``(N,)``.
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self.images = images
        self.targets = targets.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def load_splits(data: str, root: str | Path = "data", *, download: bool = False, limit: int | None = None) -> Splits:
    """Load a data set by name.

    Args:
        data: ``"digits"`` (comes with scikit-learn), ``"fashion_mnist"``, ``"cifar10"``, ``"cifar100"`` (torchvision's
            files under ``root``), or ``"imagefolder:PATH"`` (``PATH/train/CLASS/*``, ``PATH/val/CLASS/*``; accuracy
            is reported on ``PATH/test`` if it exists, else on ``PATH/val``).
        root: folder with torchvision's files.
        download: download these files if they are missing.
        limit: maximum number of images per split.

    Raises:
        ValueError: if the data set is unknown, files are missing, or the splits differ in their classes.

    Example:
        >>> from pyg_vig.train import load_splits
        >>> splits = load_splits("digits")
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (1259, 179, 359)
    """
    name, _, path = data.partition(":")
    if name == "digits":
        splits = _load_digits()
    elif name in _TORCHVISION:
        splits = _load_torchvision(name, Path(root), download)
    elif name == "imagefolder" and path:
        splits = _load_image_folder(Path(path))
    else:
        known = ", ".join(["digits", *_TORCHVISION])
        raise ValueError(f"unknown data {data!r}: choose {known}, or imagefolder:PATH")
    if limit is None:
        return splits
    train, validation, test = (_subsample(split, limit) for split in splits[:3])
    return splits._replace(train=train, validation=validation, test=test)


def stratified_split(targets: Sequence[int], fractions: Sequence[float], seed: int = _SPLIT_SEED) -> list[list[int]]:
    """Split a data set at random into parts with the same class proportions.

    Args:
        targets: class of every image.
        fractions: size of each part as a fraction of the whole, except the last part, which gets the rest.
        seed: random seed of the split.

    Returns:
        The indices of each part, in ascending order.

    Example:
        >>> from pyg_vig.train.datasets import stratified_split
        >>> [len(part) for part in stratified_split([0] * 10 + [1] * 20, [0.2])]
        [6, 24]
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(targets)
    parts: list[list[int]] = [[] for _ in range(len(fractions) + 1)]
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        sizes = [round(fraction * len(members)) for fraction in fractions]
        for part, indices in zip(parts, members.split([*sizes, len(members) - sum(sizes)]), strict=True):
            part += indices.tolist()
    return [sorted(part) for part in parts]


def _load_digits() -> Splits:
    from sklearn.datasets import load_digits

    content = load_digits()
    images = torch.from_numpy(content.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)  # (N, 1, 8, 8)
    data = LabeledImages(images, torch.from_numpy(content.target))
    test, validation, train = (Subset(data, part) for part in stratified_split(data.targets, [0.2, 0.1]))
    return Splits(train, validation, test, [str(digit) for digit in range(10)], channels=1, augment="affine")


def _load_torchvision(name: str, root: Path, download: bool) -> Splits:
    dataset_class, channels = _TORCHVISION[name]
    try:
        train, test = (dataset_class(root, train=is_train, download=download) for is_train in (True, False))
    except RuntimeError as error:
        raise ValueError(
            f"{name} was not found in {root}: set the folder with --root, or download it with --download true ({error})"
        ) from error
    data, test_data = _load_to_memory(train), _load_to_memory(test)
    validation, training = stratified_split(data.targets, [_VALIDATION_FRACTION])
    return Splits(
        Subset(data, training), Subset(data, validation), test_data, list(train.classes), channels, augment="crop"
    )


def _load_to_memory(dataset: Any) -> LabeledImages:
    """Bypass torchvision's conversion to PIL, which takes longer than a network on images of this size."""
    images = torch.as_tensor(dataset.data)  # (N, H, W), or (N, H, W, 3)
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    return LabeledImages(images, torch.as_tensor(dataset.targets))


def _load_image_folder(path: Path) -> Splits:
    for split in ("train", "val"):
        if not (path / split).is_dir():
            raise ValueError(f"no folder {path / split}: imagefolder needs PATH/train/CLASS/* and PATH/val/CLASS/*")
    names = ["train", "val", "test"] if (path / "test").is_dir() else ["train", "val"]
    parts = [ReadableFolder(path / name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part.classes != parts[0].classes:
            differing = sorted(set(part.classes) ^ set(parts[0].classes))
            raise ValueError(f"{path / name} and {path / 'train'} differ in their classes: {', '.join(differing[:5])}")
    return Splits(parts[0], parts[1], parts[-1], parts[0].classes, channels=3, augment="resized_crop", crop=0.9)


def _subsample(data: Dataset[Any], limit: int) -> Dataset[Any]:
    """Keep ``limit`` images, evenly spaced, so that data sorted by class keeps all classes."""
    size = len(data)  # type: ignore[arg-type]
    return data if size <= limit else Subset(data, [i * size // limit for i in range(limit)])


_TORCHVISION: dict[str, tuple[Callable[..., Any], int]] = {
    "fashion_mnist": (datasets.FashionMNIST, 1),
    "cifar10": (datasets.CIFAR10, 3),
    "cifar100": (datasets.CIFAR100, 3),
}
