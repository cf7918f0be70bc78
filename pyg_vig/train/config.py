"""Everything that can be chosen for a training run: plain data, one field an option of ``pyg-vig train``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from pyg_vig.models.checkpoint import write_atomically


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Options of a training run; the defaults train a small ViG on scikit-learn's handwritten digits.

    Args:
        data: images to train on: digits, fashion_mnist, cifar10, cifar100, or imagefolder:PATH (ImageNet's layout,
            train/CLASS/*.jpg and val/CLASS/*.jpg).
        root: folder with the files of fashion_mnist, cifar10 or cifar100.
        download: fetch those files where they are missing.
        limit: use at most so many images of each split, for a quick try.
        model: name of the network, see "pyg-vig models".
        options: fields of its configuration to replace, such as --options.conv edge --options.depth 4.
        weights: checkpoint to start from (its classifier is replaced where the number of classes differs).
        epochs: passes over the training images.
        batch_size: images of one step.
        lr: largest learning rate, reached after the warm-up; falls to zero along a cosine.
        warmup_epochs: epochs in which the learning rate rises from zero.
        weight_decay: decoupled weight decay of AdamW; none on biases and norms.
        label_smoothing: share of the target that is spread over all classes.
        augment: random changes of training images: affine (small shifts and turns), crop (padded crops and mirror
            images), resized_crop (ImageNet's), none; auto chooses by data.
        seed: of weights, order, random changes and dropped branches.
        accelerator: where to run.
        precision: Lightning's name, such as 32-true or bf16-mixed.
        workers: processes that load images; 0 loads them in the main one.
        name: name of the run; by default made of data and model, and numbered.
        runs: folder that holds the runs.

    Raises:
        ValueError: for a value that makes no sense.

    Example:
        >>> from pyg_vig.train import RunConfig
        >>> RunConfig(data="fashion_mnist", options={"conv": "edge"}).model
        'vig_nano'
    """

    data: str = "digits"
    root: str = "data"
    download: bool = False
    limit: int | None = None
    model: str = "vig_nano"
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    warmup_epochs: float = 2
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    augment: Literal["auto", "affine", "crop", "resized_crop", "none"] = "auto"
    seed: int = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: str = "32-true"
    workers: int = 0
    name: str | None = None
    runs: str = "runs"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_epochs", "weight_decay", "workers"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.limit is None or self.limit >= 2, "limit", self.limit, "at least 2")
        _require(self.lr > 0, "lr", self.lr, "positive")
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        _require(self.name is None or Path(self.name).name == self.name, "name", self.name, "a plain folder name")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("accelerator is 'gpu', but PyTorch finds no GPU here: choose 'cpu' or 'auto'")

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> RunConfig:
        """Read a file of :meth:`save`.

        Args:
            path: the file.
            **changes: fields to replace.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for a field that does not exist.
        """
        values = yaml.safe_load(Path(path).read_text()) | changes
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"{path}: unknown field {', '.join(unknown)}")
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write all fields as YAML; ``pyg-vig train --config`` takes the file."""
        write_atomically(path, yaml.safe_dump(asdict(self), sort_keys=False).encode())


def _require(condition: bool, name: str, value: Any, rule: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")
