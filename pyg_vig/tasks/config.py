"""Options for training a detector or a segmenter: plain data, one field per command-line option."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pyg_vig.models.config import require
from pyg_vig.train.options import Precision, RunOptions
from pyg_vig.train.schedule import Schedule

AnyTaskConfig = TypeVar("AnyTaskConfig", bound="TaskConfig")


@dataclass(frozen=True, kw_only=True)
class TaskConfig(RunOptions):
    """Options that the dense tasks share.

    Args:
        data: folder of the data set.
        train_split: split to train on.
        val_split: split to evaluate on.
        backbone: name of the backbone network, see "pyg-vig models".
        backbone_options: fields of the backbone's configuration to override, such as
            --backbone_options.drop_path_rate 0.1.
        weights: checkpoint that initialises the backbone.
        freeze_norm: whether to freeze the backbone's batch norms; by default only if weights are given.
        epochs: number of passes over the training images.
        batch_size: images per step, over all devices.
        lr: peak learning rate; the default is 2e-4 for 16 images (detector) or 32 crops (segmenter), scaled linearly to
            the default batch size.
        lr_batch_size: if set, lr is given for this batch size and is scaled linearly to batch_size.
        weight_decay: decoupled weight decay of AdamW; biases and norms have none.
        schedule: learning rate schedule: steps (times 0.1 at every milestone), cosine or poly (both decay to 0).
        milestones: epochs after which the schedule steps multiplies the learning rate by 0.1.
        warmup_steps: number of optimizer steps of linear warm-up.
        clip: maximum gradient norm; 0 disables clipping.
        flip: whether to flip training images horizontally at random.
        norm_epochs: number of epochs after which the statistics of all batch norms are frozen; by default never.
        evaluate_every: number of epochs between evaluations.
        seed: seed of the initial weights, the order of images and the augmentation.
        accelerator: hardware to run on; auto uses a GPU if there is one.
        devices: number of GPUs, or of processes on CPUs.
        precision: Lightning's precision, such as 32-true or bf16-mixed.
        workers: number of processes that load images; 0 loads them in the main process.
        name: name of the run's folder; by default DECODER-BACKBONE, numbered if taken.
        runs: parent folder of all runs.

    Raises:
        ValueError: for an invalid value.
    """

    data: str
    train_split: str
    val_split: str
    backbone: str = "pvig_s"
    backbone_options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    freeze_norm: bool | None = None
    epochs: int = 12
    batch_size: int = 2
    lr: float = 2.5e-5
    lr_batch_size: int | None = None
    weight_decay: float = 0.05
    schedule: Schedule = "steps"
    milestones: list[int] = field(default_factory=lambda: [8, 11])
    warmup_steps: int = 500
    clip: float = 0.0
    flip: bool = True
    norm_epochs: int | None = None
    evaluate_every: int = 1
    seed: int = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    precision: Precision = "32-true"
    workers: int = 0
    name: str | None = None
    runs: str = "runs"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.evaluate_every >= 1, "evaluate_every", self.evaluate_every, "at least 1")
        for name in ("warmup_steps", "clip"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        valid = all(epoch >= 1 for epoch in self.milestones)
        require(valid, "milestones", self.milestones, "a list of epochs, each at least 1")
        valid = self.norm_epochs is None or self.norm_epochs >= 0
        require(valid, "norm_epochs", self.norm_epochs, "0 or more")

    @property
    def decoder(self) -> str:
        """Name of the decoder on top of the backbone."""
        raise NotImplementedError

    def resolve_defaults(self: AnyTaskConfig) -> AnyTaskConfig:
        """Return the options with the default of ``freeze_norm`` resolved."""
        return self if self.freeze_norm is not None else self.replace(freeze_norm=self.weights is not None)

    @property
    def default_name(self) -> str:
        """Default name of the run: decoder and backbone."""
        return f"{self.decoder}-{self.backbone}"
