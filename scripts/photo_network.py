"""Train the small ViG behind the figures of photographs: it classifies every patch.

This project has no ImageNet weights, and graphs of random weights mean nothing, so the network is trained on the 22
training images of a COCO subset: `python scripts/photo_network.py DATA/coco runs/figures/photos.safetensors`, with
DATA/coco/train2017/*.jpg and DATA/coco/semantic/train2017/*.png (a COCO category per pixel), the same for val2017, and
DATA/coco/annotations/panoptic_train2017.json. The classes are COCO's supercategories.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from tqdm import tqdm

import pyg_vig
from pyg_vig.analysis import patch_labels
from pyg_vig.models import VisionGNN

SIDE, PATCH = 224, 16
TRAINING_SIDE = 160  # side of the crops: half the work; the position embedding is resized
UNLABELED = -1


class LabeledPhotos:
    """Photographs with a mask of COCO supercategories.

    Args:
        root: the folder of the COCO subset.
        split: "train2017" or "val2017".
    """

    def __init__(self, root: Path, split: str) -> None:
        content = json.loads((root / "annotations" / "panoptic_train2017.json").read_text())
        self.classes = sorted({category["supercategory"] for category in content["categories"]})
        table = np.full(256, UNLABELED)
        for category in content["categories"]:
            table[category["id"]] = self.classes.index(category["supercategory"])
        self.table = torch.from_numpy(table)
        self.paths = sorted((root / split).glob("*.jpg"))
        self.masks = [root / "semantic" / split / f"{path.stem}.png" for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image = tv_tensors.Image(Image.open(self.paths[index]).convert("RGB"))
        mask = torch.from_numpy(np.array(Image.open(self.masks[index]))).long()
        return image, tv_tensors.Mask(self.table[mask])


def evaluation_transform() -> v2.Compose:
    size = [v2.Resize(SIDE, InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(SIDE)]
    return v2.Compose([*size, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])


def training_transform() -> v2.Compose:
    augmentations = [
        v2.RandomResizedCrop(TRAINING_SIDE, scale=(0.1, 0.8), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.4, 0.4, 0.4, 0.05),
    ]
    return v2.Compose([*augmentations, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])


def batches(photos: LabeledPhotos, size: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random crops and the labels of their patches."""
    resize = v2.Resize(SIDE + 64, antialias=True)
    resized, transform = [resize(*photos[i]) for i in range(len(photos))], training_transform()
    for _ in range(steps):
        crops = [transform(*resized[i]) for i in torch.randint(len(resized), (size,))]
        yield torch.stack([image for image, _ in crops]), torch.stack([label_patches(mask) for _, mask in crops])


def label_patches(mask: Tensor) -> Tensor:
    """Return the most frequent label of every patch."""
    return patch_labels(mask, (mask.size(0) // PATCH, mask.size(1) // PATCH))


def train(model: VisionGNN, photos: LabeledPhotos, size: int, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.15)
    model.train()
    for images, labels in (bar := tqdm(batches(photos, size, steps), total=steps, mininterval=10)):
        optimizer.zero_grad()
        nodes, _ = model.encode(images)
        loss = F.cross_entropy(model.head(nodes), labels.flatten(), ignore_index=UNLABELED, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


@torch.no_grad()
def accuracy(model: VisionGNN, photos: LabeledPhotos) -> float:
    """Return the fraction of labelled patches that are classified correctly."""
    model.eval()
    transform, correct, total = evaluation_transform(), 0, 0
    for image, mask in (transform(*photos[i]) for i in range(len(photos))):
        labels = label_patches(mask).flatten()
        predictions = model.head(model.encode(image.unsqueeze(0))[0]).argmax(1)
        correct += int((predictions == labels)[labels != UNLABELED].sum())
        total += int((labels != UNLABELED).sum())
    return correct / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the COCO subset")
    parser.add_argument("output", type=Path, help="file to write the weights to")
    parser.add_argument("--conv", default="max_relative")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    torch.manual_seed(0)
    photos, held_out = (LabeledPhotos(options.root, split) for split in ("train2017", "val2017"))
    model = pyg_vig.create_model(
        "vig_ti", channels=96, conv=options.conv, num_classes=len(photos.classes), head_channels=256
    )
    train(model, photos, options.batch_size, options.steps)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pyg_vig.save_checkpoint(model, options.output)
    result = {"conv": options.conv, "crops": options.steps * options.batch_size}
    result |= {"train accuracy": accuracy(model, photos), "held-out accuracy": accuracy(model, held_out)}
    options.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(result)


if __name__ == "__main__":
    main()
