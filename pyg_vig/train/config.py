"""Options of a training run as plain data; each field is an option of ``pyg-vig train``."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from pyg_vig.models.config import require
from pyg_vig.train.options import Precision, RunOptions


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Images and their augmentation.

    Args:
        data: data set: digits, fashion_mnist, cifar10, cifar100, or imagefolder:PATH (ImageNet's layout,
            train/CLASS/*.jpg and val/CLASS/*.jpg).
        root: folder with the files of fashion_mnist, cifar10 or cifar100.
        download: download the files of these data sets if they are missing.
        limit: maximum number of images per split, for a quick test.
        workers: number of processes that load images; 0 loads them in the main process.
        augment: augmentation of training images: affine (small shifts and rotations), crop (padded crops and flips),
            resized_crop (as for ImageNet), none; auto chooses by data set.
        rand_augment: RandAugment policy in timm's notation, such as rand-m9-mstd0.5-inc1 (needs timm).
        erase: probability that a random rectangle of an image is replaced by noise.
        repeats: repeated augmentation: number of times that an image is used in an epoch. The length of an epoch does
            not change, so it covers only a part of the images.
        mixup: Mixup's alpha; 0 disables it. If CutMix is enabled too, every batch uses one of the two.
        cutmix: CutMix's alpha; 0 disables it.
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
    """Network and optimisation.

    Args:
        model: name of the network, see "pyg-vig models".
        options: fields of the network's configuration to override, such as --options.conv edge --options.depth 4.
        weights: checkpoint that initialises the network; its head is not used if the number of classes differs.
        epochs: number of passes over the training images.
        batch_size: images per optimizer step, over all processes and accumulated batches.
        lr: peak learning rate, reached after the warm-up, before cosine decay.
        lr_batch_size: if set, lr is given for this batch size and is scaled linearly to batch_size.
        final_lr: learning rate at the end of the cosine decay.
        warmup_epochs: number of epochs of linear warm-up.
        cooldown_epochs: number of epochs at the final learning rate, after the cosine decay.
        weight_decay: decoupled weight decay of AdamW; biases and norms have none.
        label_smoothing: fraction of the target probability that is spread evenly over all classes.
        ema: decay per step of the exponential moving average (EMA) of the weights, which is evaluated and saved; 0
            disables it.
        teacher: teacher for hard distillation: name of a timm network with pretrained weights, or folder of a run;
            requires --options.distilled true.
        frozen_norms: freeze the running statistics of batch norms, for fine-tuning with small batches.
        seed: seed of the initial weights, the order of images, augmentation and stochastic depth.
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


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Hardware, speed and output.

    Args:
        accelerator: hardware to run on; auto uses a GPU if there is one.
        devices: number of GPUs (or processes on CPUs) per machine; auto uses all GPUs, or one process on CPUs.
        nodes: number of machines.
        strategy: distributed strategy: ddp, fsdp (GPUs only), or auto.
        sync_norms: synchronise batch norms over all processes; ignored on CPUs.
        precision: Lightning's precision, such as 32-true or bf16-mixed.
        accumulate: number of batches over which gradients are accumulated; each has batch_size / accumulate images.
        grad_checkpointing: recompute blocks in the backward pass, which takes less memory but more time.
        compile: compile the network with torch.compile.
        log_every: number of steps between log entries (loss, learning rate, images per second, memory).
        loggers: loggers that record these entries; metrics.csv is always written, with one line per epoch.
        fast_dev_run: run one batch of training, validation and test as a check, and write nothing.
        name: name of the run's folder; by default DATA-MODEL, numbered if taken.
        runs: parent folder of all runs.
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
        ValueError: if a value has the wrong type or is invalid, or the package of a logger is missing.

    Example:
        >>> from pyg_vig.train import RunConfig
        >>> RunConfig(data="fashion_mnist", options={"conv": "edge"}).model
        'vig_nano'
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
        require(0 <= self.erase <= 1, "erase", self.erase, "a probability in [0, 1]")
        require(self.limit is None or self.limit >= 2, "limit", self.limit, "at least 2")
        rule = f"less than epochs - warmup_epochs ({self.epochs} - {self.warmup_epochs})"
        fits = self.cooldown_epochs == 0 or self.warmup_epochs + self.cooldown_epochs < self.epochs
        require(fits, "cooldown_epochs", self.cooldown_epochs, rule)
        for package in {"tensorboard", "wandb"}.intersection(self.loggers):
            if find_spec(package) is None:
                raise ValueError(f"the logger {package} requires the package {package}: pip install {package}")
        if self.strategy == "fsdp" and self.ema:
            raise ValueError("ema is not supported with strategy fsdp, which shards the weights: use ddp, or ema 0")

    @property
    def default_name(self) -> str:
        """Default name of the run: data and model."""
        return f"{self.data.partition(':')[0]}-{self.model}"
