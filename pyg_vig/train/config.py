"""Everything that can be chosen for a training run: plain data, one field an option of ``pyg-vig train``."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from pyg_vig.train.options import Precision, RunOptions, require


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Which images, and how they are changed at random in training.

    Args:
        data: images to train on: digits, fashion_mnist, cifar10, cifar100, or imagefolder:PATH (ImageNet's layout,
            train/CLASS/*.jpg and val/CLASS/*.jpg).
        root: folder with the files of fashion_mnist, cifar10 or cifar100.
        download: fetch those files where they are missing.
        limit: use at most so many images of each split, for a quick try.
        workers: processes that load images; 0 loads them in the main one.
        augment: random changes of training images: affine (small shifts and turns), crop (padded crops and mirror
            images), resized_crop (ImageNet's), none; auto chooses by data.
        rand_augment: RandAugment after those, as timm writes it, such as rand-m9-mstd0.5-inc1 (needs timm).
        erase: probability to fill a random rectangle of an image with noise.
        repeats: how often each image of an epoch is drawn, every time changed anew; the epoch takes as many images as
            without, so it sees a part of them.
        mixup: Mixup's alpha, 0 for none; where there is CutMix as well, each batch takes one of the two.
        cutmix: CutMix's alpha, 0 for none.
    """

    data: str = "digits"
    root: str = "data"
    download: bool = False
    limit: int | None = None
    workers: int = 0
    augment: Literal["auto", "affine", "crop", "resized_crop", "none"] = "auto"
    rand_augment: str | None = None
    erase: float = 0.0
    repeats: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """Which network, and how it learns.

    Args:
        model: name of the network, see "pyg-vig models".
        options: fields of its configuration to replace, such as --options.conv edge --options.depth 4.
        weights: checkpoint to start from (its classifier is replaced where the number of classes differs).
        epochs: passes over the training images.
        batch_size: images of one step of the optimizer, in all processes and accumulated batches together.
        lr: largest learning rate, reached after the warm-up; falls along a cosine.
        lr_batch_size: batch size that lr is meant for: with another one, lr grows or shrinks in proportion.
        final_lr: learning rate at the end of the cosine.
        warmup_epochs: epochs in which the learning rate rises from zero.
        cooldown_epochs: epochs with the final learning rate at the end.
        weight_decay: decoupled weight decay of AdamW; none on biases and norms.
        label_smoothing: share of the target that is spread over all classes.
        ema: decay per step of the running average of the weights that is evaluated and saved; 0 for no average.
        teacher: network to learn from by hard distillation: a name in timm (with its weights), or the folder of a run;
            the network needs --options.distilled true.
        frozen_norms: keep the statistics of batch norms as they are, for fine-tuning with few images at a time.
        seed: of weights, order, random changes and dropped branches.
    """

    model: str = "vig_nano"
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    lr_batch_size: int | None = None
    final_lr: float = 0.0
    warmup_epochs: float = 2
    cooldown_epochs: float = 0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.0
    teacher: str | None = None
    frozen_norms: bool = False
    seed: int = 0

    @property
    def peak_lr(self) -> float:
        """The largest learning rate, for this batch size."""
        return self.lr * self.batch_size / (self.lr_batch_size or self.batch_size)


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Where it runs, how fast, and what it writes.

    Args:
        accelerator: where to run.
        devices: devices of one machine: a number, or auto for all GPUs (and one CPU process).
        nodes: machines.
        strategy: how processes share the work: ddp, fsdp (GPUs only), or auto.
        sync_norms: batch norms see the images of all processes; GPUs only, ignored elsewhere.
        precision: Lightning's name, such as 32-true or bf16-mixed.
        accumulate: batches whose gradients are summed up for one step; each is so much smaller.
        grad_checkpointing: recompute blocks in the backward pass: less memory, more time.
        compile: compile the network with torch.compile.
        log_every: steps between two lines of the log (loss, learning rate, images per second, memory).
        loggers: where the log goes, besides one line an epoch in metrics.csv.
        fast_dev_run: one batch of training, validation and test to see that all works; nothing is written.
        name: name of the run; by default made of data and model, and numbered.
        runs: folder that holds the runs.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    sync_norms: bool = True
    precision: Precision = "32-true"
    accumulate: int = 1
    grad_checkpointing: bool = False
    compile: bool = False
    log_every: int = 50
    loggers: list[Literal["csv", "tensorboard", "wandb"]] = field(default_factory=lambda: ["csv"])
    fast_dev_run: bool = False
    name: str | None = None
    runs: str = "runs"


GROUPS = (ImageOptions, LearningOptions, MachineOptions)


@dataclass(frozen=True, kw_only=True)
class RunConfig(ImageOptions, LearningOptions, MachineOptions, RunOptions):
    """Options of a training run; the defaults train a small ViG on scikit-learn's handwritten digits.

    The fields are those of :class:`ImageOptions`, :class:`LearningOptions` and :class:`MachineOptions`.

    Raises:
        ValueError: for a value of the wrong type or one that makes no sense, or a logger whose package is missing.

    Example:
        >>> from pyg_vig.train import RunConfig
        >>> RunConfig(data="fashion_mnist", options={"conv": "edge"}).model
        'vig_nano'
        >>> RunConfig(lr=2e-3, lr_batch_size=1024, batch_size=256).peak_lr
        0.0005
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("repeats", "nodes", "accumulate", "log_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_epochs", "cooldown_epochs", "mixup", "cutmix", "final_lr"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("label_smoothing", "ema"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        divisible = self.batch_size % self.accumulate == 0
        require(divisible, "batch_size", self.batch_size, f"a multiple of accumulate ({self.accumulate})")
        require(0 <= self.erase <= 1, "erase", self.erase, "a probability")
        require(self.limit is None or self.limit >= 2, "limit", self.limit, "at least 2")
        rule = f"below epochs ({self.epochs}) together with warmup_epochs ({self.warmup_epochs})"
        longest = self.cooldown_epochs == 0 or self.warmup_epochs + self.cooldown_epochs < self.epochs
        require(longest, "cooldown_epochs", self.cooldown_epochs, rule)
        for package in {"tensorboard", "wandb"}.intersection(self.loggers):
            if find_spec(package) is None:
                raise ValueError(f"the logger {package} needs its package: pip install {package}")
        if self.strategy == "fsdp" and self.ema:
            raise ValueError("an average of the weights (ema) cannot be kept of sharded ones: use ddp, or ema 0")

    @property
    def stem(self) -> str:
        """Name of the run where none is given: data and model."""
        return f"{self.data.partition(':')[0]}-{self.model}"
