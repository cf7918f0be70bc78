"""What can be chosen for training a detector or a segmenter: plain data, one field an option of the command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pyg_vig.tasks.schedule import Schedule
from pyg_vig.train.options import Precision, RunOptions, require


@dataclass(frozen=True, kw_only=True)
class TaskConfig(RunOptions):
    """Options that the dense tasks share.

    Args:
        data: folder of the data set.
        train_split: its part to learn from.
        val_split: its part to evaluate on.
        backbone: name of the network, see "pyg-vig models".
        backbone_options: fields of its configuration to replace, such as --backbone_options.drop_path_rate 0.1.
        weights: checkpoint of the backbone to start from.
        freeze_norm: whether the backbone's batch norms stay as they are; by default where there are weights.
        epochs: passes over the training images.
        batch_size: images of one step, on all devices together.
        lr: largest learning rate, for batches of that size.
        weight_decay: decoupled weight decay of AdamW; none on biases and norms.
        schedule: steps (a tenth after every milestone), cosine or poly (both to zero).
        milestones: epochs after which the learning rate falls to a tenth, for steps.
        warmup_steps: optimiser steps in which the learning rate rises from zero.
        clip: largest norm of the gradient; 0 does not clip.
        flip: whether training images are mirrored at random.
        norm_epochs: epochs in which batch norms learn; afterwards they stay as they are. By default they always learn.
        evaluate_every: epochs between evaluations.
        seed: of weights, order and random changes.
        accelerator: where to run.
        devices: how many GPUs or processes.
        precision: Lightning's name, such as 32-true or bf16-mixed.
        workers: processes that load images; 0 loads them in the main one.
        name: folder of the run under runs; by default made of decoder and backbone, and numbered.
        runs: folder that holds the runs.

    Raises:
        ValueError: for a value that makes no sense.
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
    lr: float = 2e-4
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
        milestones = all(epoch >= 1 for epoch in self.milestones)
        require(milestones, "milestones", self.milestones, "a list of epochs, from 1")
        norms = self.norm_epochs is None or self.norm_epochs >= 0
        require(norms, "norm_epochs", self.norm_epochs, "0 or more")

    @property
    def decoder(self) -> str:
        """What stands on the backbone."""
        raise NotImplementedError

    @property
    def stem(self) -> str:
        """Name of the run where none is given: decoder and backbone."""
        return f"{self.decoder}-{self.backbone}"
