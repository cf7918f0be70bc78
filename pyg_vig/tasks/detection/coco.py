"""Object detection data sets in COCO's format."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from pyg_vig.tasks.reading import read_rgb
from pyg_vig.train.loaders import ImageDataModule
from pyg_vig.train.sampling import derive_seed, seeded_rng

Sample = tuple[Tensor, dict[str, Any]]


class CocoImages(Dataset[Sample]):
    """One split of a data set in COCO's format.

    Args:
        images: folder of the images.
        annotations: the file ``instances_*.json``.
        train: leave out images without objects, and allow flips.
        flip: flip training images horizontally at random.
        seed: seed of the flips, which also depend on the draw in keys ``(draw, index)``.
        masks: read the objects' masks; if false, annotations need boxes only.

    Raises:
        FileNotFoundError: if a file or folder is missing.
        ValueError: if ``masks`` is true and an object has none.

    Items are pairs of an image ``(3, H, W)`` in [0, 1] and a target with ``boxes`` (corners), ``labels`` (from 1),
    ``image_id`` and, if requested, ``masks`` ``(N, H, W)``. Targets leave out crowds.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        train: bool = False,
        flip: bool = False,
        seed: int = 0,
        masks: bool = True,
    ) -> None:
        self.folder = Path(images)
        if not self.folder.is_dir() or not Path(annotations).is_file():
            missing = annotations if self.folder.is_dir() else images
            raise FileNotFoundError(
                f"{missing} does not exist: COCO's layout is DATA/SPLIT/*.jpg, DATA/annotations/instances_*.json"
            )
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            self.coco = COCO(str(annotations))
        self.categories = sorted(self.coco.getCatIds())
        self.classes = [self.coco.cats[category]["name"] for category in self.categories]
        self.labels = {category: label for label, category in enumerate(self.categories, 1)}
        self.train = train
        self.seed = seed
        self.transform = v2.RandomHorizontalFlip(0.5 if train and flip else 0.0)
        self.ids = [i for i in sorted(self.coco.getImgIds()) if not train or self._objects(i)]
        self.masks = masks
        if masks and any(not o.get("segmentation") for i in self.ids for o in self._objects(i)):
            raise ValueError(
                f"{annotations} has objects without a segmentation, which Mask R-CNN needs: train retinanet, which "
                "needs only boxes, or pass masks=False"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        draw, index = key if isinstance(key, tuple) else (0, key)
        image_id = self.ids[index]
        image = read_rgb(self.folder / self.coco.imgs[image_id]["file_name"])
        target = self._target(image_id, image.shape[-2:])
        with seeded_rng(derive_seed(self.seed, draw, index)):
            image, target = self.transform(image, target)
        return v2.functional.to_dtype(image, torch.float32, scale=True).as_subclass(torch.Tensor), target

    def _objects(self, image_id: int) -> list[dict[str, Any]]:
        """Annotations of an image, without crowds and empty boxes."""
        annotations = self.coco.imgToAnns[image_id]
        return [a for a in annotations if not a.get("iscrowd", 0) and a["bbox"][2] > 0 and a["bbox"][3] > 0]

    def _target(self, image_id: int, size: torch.Size) -> dict[str, Any]:
        objects = self._objects(image_id)
        corners = torch.tensor([o["bbox"] for o in objects], dtype=torch.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        target = {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=tuple(size)),
            "labels": torch.tensor([self.labels[o["category_id"]] for o in objects], dtype=torch.int64),
            "image_id": image_id,
        }
        if self.masks:
            masks = [self.coco.annToMask(o) for o in objects] or [np.zeros((0, *size), dtype=np.uint8)]
            target["masks"] = tv_tensors.Mask(torch.from_numpy(np.stack(masks) if objects else masks[0]))
        return target


class CocoData(ImageDataModule):
    """Data loaders for COCO's layout: ``DATA/SPLIT/*.jpg`` and ``DATA/annotations/instances_SPLIT.json``.

    Args:
        root: the folder ``DATA``.
        train_split: split to train on.
        val_split: split to evaluate on.
        batch_size: images per step, over all processes.
        flip: flip training images horizontally at random.
        seed: seed of the order and of the flips.
        workers: processes that load images.
        masks: read the objects' masks.

    Raises:
        FileNotFoundError: if a file or folder is missing.
        ValueError: if ``masks`` is true and an object has none.
    """

    def __init__(
        self,
        root: str | Path,
        train_split: str = "train2017",
        val_split: str = "val2017",
        *,
        batch_size: int = 2,
        flip: bool = True,
        seed: int = 0,
        workers: int = 0,
        masks: bool = True,
    ) -> None:
        train_images = CocoImages(*_split_paths(root, train_split), train=True, flip=flip, seed=seed, masks=masks)
        val_images = CocoImages(*_split_paths(root, val_split), masks=masks)
        super().__init__(train_images, val_images, batch_size, collate=_collate, seed=seed, workers=workers)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, starting with that of label 1."""
        return self.train_images.classes


def _split_paths(root: str | Path, split: str) -> tuple[Path, Path]:
    return Path(root) / split, Path(root) / "annotations" / f"instances_{split}.json"


def _collate(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Collate samples into lists: images of different sizes cannot be stacked."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
