"""Do the dense tasks learn? Overfit a small detector or a small segmenter to the few images it is evaluated on.

    python -m benchmarks.overfit detection --data COCO
    python -m benchmarks.overfit segmentation --data COCO

``COCO`` is a folder in COCO's layout, with ``semantic/SPLIT/*.png`` (COCO's panoptic category of every pixel) for
segmentation. High scores show that losses, targets, evaluation and checkpoints fit together; they say nothing about new
images. Scores and curves go to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.utils import make_grid

from pyg_vig.benchmark import provenance, write
from pyg_vig.models import count_parameters
from pyg_vig.train.callbacks import read_metrics
from pyg_vig.train.run_folder import CURVES_FIGURE, METRICS

SPLIT = "train2017"
RESULTS = Path(__file__).parent / "results"
BACKBONE: dict[str, Any] = {
    "backbone": "pvig_ti",
    "backbone_options": {"channels": [24, 48, 96, 128], "depths": [1, 1, 2, 2]},
}
SHARED: dict[str, Any] = {
    "val_split": SPLIT,
    "train_split": SPLIT,
    "batch_size": 2,
    "schedule": "cosine",
    "clip": 5.0,
    "flip": False,
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, and save scores and curves of the run under the name of the task."""
    options = parse(arguments)
    torch.set_num_threads(1)
    results = provenance(vars(options))
    start = start_detection if options.task == "detection" else start_segmentation
    run = start(options.data, str(options.runs), options.epochs, options.lr, options.size)
    results |= train_and_summarize(run)
    print(results["figures"])
    target = options.results / f"overfit_{options.task}"
    write(target.with_suffix(".json"), results)
    shutil.copy(run.folder / METRICS, target.with_suffix(".csv"))
    shutil.copy(run.folder / CURVES_FIGURE, target.with_suffix(".png"))
    if options.picture is not None:
        v2.functional.to_pil_image(draw_predictions(options.task, run)).save(options.picture)
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overfit", description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("task", choices=["detection", "segmentation"])
    add("--data", type=Path, required=True, metavar="DIR", help="folder in COCO's layout")
    add("--epochs", type=int, default=270)
    add("--lr", type=float, default=1e-3)
    add("--size", type=int, default=224, help="longer side of the images (of crops for segmentation)")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder for the training run")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="folder for scores and curves")
    add("--picture", type=Path, metavar="FILE.png", help="draw the predictions on the images")
    return parser.parse_args(arguments)


def train_and_summarize(run: Any) -> dict[str, Any]:
    """Train the run; return its size, its duration and the scores of the last evaluation."""
    scores = run.fit()
    seconds = sum(row["seconds"] for row in read_metrics(run.folder / METRICS))
    sizes = {"images": len(run.data.val_images), "parameters": count_parameters(run.module, trainable_only=False)}
    return {**sizes, "seconds": round(seconds), "figures": scores}


def start_detection(data: Path, runs: str, epochs: int, lr: float, size: int) -> Any:
    """Start a Mask R-CNN with narrow layers, small anchors and few proposals, on small images."""
    from pyg_vig.tasks.detection import DetectionConfig, DetectionRun

    proposals = {"rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 100, "rpn_batch_size_per_image": 128}
    proposals |= {"rpn_pre_nms_top_n_test": 300, "rpn_post_nms_top_n_test": 150, "box_batch_size_per_image": 32}
    config = DetectionConfig(
        data=str(data),
        channels=64,
        head_channels=256,
        anchor_size=8,
        options={"min_size": size * 3 // 4, "max_size": size, **proposals},
        **training_options(epochs, lr, runs),
    )
    return DetectionRun.start(config)


def start_segmentation(data: Path, runs: str, epochs: int, lr: float, size: int) -> Any:
    """Start a Semantic FPN with narrow layers, on small images."""
    from pyg_vig.tasks.segmentation import SegmentationConfig, SegmentationRun

    config = SegmentationConfig(
        data=str(convert_to_ade20k(data, Path(runs) / "semantic_masks")),
        size=size,
        scale_min=1.0,
        scale_max=1.0,
        options={"decoder_pyramid_channels": 64, "decoder_segmentation_channels": 64, "decoder_dropout": 0.0},
        **training_options(epochs, lr, runs),
    )
    return SegmentationRun.start(config)


def training_options(epochs: int, lr: float, runs: str) -> dict[str, Any]:
    """Return the shared options; batch norms are frozen in the last quarter, so that training matches evaluation."""
    schedule = {"epochs": epochs, "lr": lr, "warmup_steps": 50, "norm_epochs": epochs * 3 // 4}
    return BACKBONE | SHARED | schedule | {"evaluate_every": max(1, epochs // 10), "runs": runs}


def convert_to_ade20k(data: Path, target: Path) -> Path:
    """Copy COCO's semantic masks into ADE20K's layout, with the classes that occur numbered from 1."""
    files = sorted((data / "semantic" / SPLIT).glob("*.png"))
    masks = {file.name: v2.functional.pil_to_tensor(Image.open(file)) for file in files}
    categories = sorted({value for mask in masks.values() for value in mask.unique().tolist()} - {0})
    class_of = torch.zeros(256, dtype=torch.uint8)
    class_of[categories] = torch.arange(1, len(categories) + 1, dtype=torch.uint8)
    for part in ("images", "annotations"):
        (target / part / SPLIT).mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        v2.functional.to_pil_image(class_of[mask.long()]).save(target / "annotations" / SPLIT / name)
        shutil.copy(data / SPLIT / f"{Path(name).stem}.jpg", target / "images" / SPLIT)
    return target


def draw_predictions(task: str, run: Any, side: int = 224, columns: int = 6) -> torch.Tensor:
    """Draw the saved network's predictions on all images, in a grid."""
    from pyg_vig.tasks import load_model
    from pyg_vig.tasks.drawing import draw_classes, draw_detections
    from pyg_vig.tasks.segmentation import segment

    model, tiles = load_model(run.weights), []
    for image, *_ in (run.data.val_images[i] for i in range(len(run.data.val_images))):
        pixels = (image * 255).to(torch.uint8)
        with torch.no_grad():
            if task == "detection":
                drawn = draw_detections(pixels, model([image])[0], model.config.classes)
            else:
                drawn = draw_classes(pixels, segment(model, image[None], run.module.size)[0])
        tiles.append(
            v2.functional.center_crop(
                v2.functional.resize(drawn, side - 1, max_size=side, antialias=True), [side, side]
            )
        )
    return make_grid(tiles, columns)


if __name__ == "__main__":
    main()
