from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyg_vig.models import get_config
from pyg_vig.train import ImageData, RunConfig, load_splits
from pyg_vig.train.datasets import stratified_split


def test_digits_are_split_evenly_and_always_alike() -> None:
    splits, again = load_splits("digits"), load_splits("digits")
    parts = splits.train, splits.validation, splits.test
    indices = [set(part.indices) for part in parts]
    assert set.union(*indices) == set(range(1797))
    assert sum(map(len, indices)) == 1797
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        counts = Counter(label for _, label in part)
        assert len(counts) == 10
        assert max(counts.values()) - min(counts.values()) <= 8
        assert len(part) == pytest.approx(share * 1797, abs=5)
    assert again.test.indices == splits.test.indices
    images = torch.stack([image for image, _ in splits.train])
    assert (images.dtype, images.shape[1:], images.min(), images.max()) == (torch.uint8, (1, 8, 8), 0, 255)


def test_parts_keep_the_shares_of_classes() -> None:
    targets = [0] * 30 + [1] * 10
    first, second, rest = stratified_split(targets, [0.5, 0.1])
    assert [len(first), len(second), len(rest)] == [20, 4, 16]
    assert sum(targets[i] for i in first) == 5
    assert sorted(first + second + rest) == list(range(40))
    assert stratified_split(targets, [0.5, 0.1], seed=1)[0] != first


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def test_fashion_mnist_is_read_from_root(tmp_path: Path) -> None:
    for part, size in (("train", 100), ("t10k", 30)):
        raw = tmp_path / "FashionMNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", np.full((size, 28, 28), 9, np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(size, dtype=np.uint8) % 10)
    splits = load_splits("fashion_mnist", tmp_path)
    assert [len(part) for part in splits[:3]] == [90, 10, 30]
    assert sorted(label for _, label in splits.validation) == list(range(10))
    data = ImageData(splits, get_config("vig_nano", in_channels=1), RunConfig(batch_size=8))
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (8, 1, 32, 32)
    assert labels.shape == (8,)


def write_folder(root: Path, parts: dict[str, list[str]]) -> None:
    for part, classes in parts.items():
        for i, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for j in range(3):
                Image.new("RGB", (20 + j, 30), (40 * i, 0, 0)).save(root / part / name / f"{j}.png")


def test_image_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": ["cat", "dog"], "val": ["cat", "dog"]})
    splits = load_splits(f"imagefolder:{tmp_path}")
    assert splits.classes == ["cat", "dog"]
    assert splits.test is splits.validation
    assert [label for _, label in load_splits(f"imagefolder:{tmp_path}", limit=2).train] == [0, 1]
    write_folder(tmp_path, {"test": ["cat", "dog"]})
    assert load_splits(f"imagefolder:{tmp_path}").test is not splits.validation


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown data 'digit': choose digits, fashion_mnist, .* imagefolder:PATH"):
        load_splits("digit")
    with pytest.raises(ValueError, match="unknown data 'imagefolder'"):
        load_splits("imagefolder")
    with pytest.raises(ValueError, match=r"cifar10 was not found in .*--download"):
        load_splits("cifar10", tmp_path)
    with pytest.raises(ValueError, match=r"no folder .*train"):
        load_splits(f"imagefolder:{tmp_path}")
    write_folder(tmp_path, {"train": ["cat", "dog"], "val": ["cat", "doge"]})
    with pytest.raises(ValueError, match="differ in their classes: dog, doge"):
        load_splits(f"imagefolder:{tmp_path}")
