"""Options for training a detector or a segmenter: plain data, one field per command-line option."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pyg_vig.models.config import require
from pyg_vig.train.options import Precision, RunOptions
from pyg_vig.train.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class TaskConfig(RunOptions):
    """Options that the dense tasks share.

    Args:
        data: folder of the data set.
        train_split: split to train on.
        val_split: split to evaluate on.
        backbone: name of a network, see "pyg-vig models".
        backbone_options: configuration fields to override, such as --backbone_options.drop_path_rate 0.1.
        weights: checkpoint of the backbone to start from.
        freeze_norm: whether to freeze the backbone's batch norms; by default only if weights are given.
        epochs: passes over the training images.
        batch_size: images per step, over all devices.
        lr: peak learning rate; the default is 2e-4 for 16 images (32 crops), scaled to the default batch size.
        lr_batch_size: batch size for which lr is given; lr is scaled linearly to batch_size; by default it is not.
        weight_decay: decoupled weight decay of AdamW; none on biases and norms.
        schedule: steps (times 0.1 at every milestone), cosine or poly (both decay to zero).
        milestones: epochs after which steps multiplies the learning rate by 0.1.
        warmup_steps: optimizer steps of linear warm-up.
        clip: maximum gradient norm; 0 disables clipping.
        flip: whether to flip training images horizontally at random.
        norm_epochs: epochs after which batch norms are frozen; by default never.
        evaluate_every: epochs between evaluations.
        seed: seed of weights, order and augmentation.
        accelerator: where to run.
        devices: how many GPUs or processes.
        precision: Lightning's precision, such as 32-true or bf16-mixed.
        workers: processes that load images; 0 loads them in the main process.
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
        milestones = all(epoch >= 1 for epoch in self.milestones)
        require(milestones, "milestones", self.milestones, "a list of epochs, from 1")
        norms = self.norm_epochs is None or self.norm_epochs >= 0
        require(norms, "norm_epochs", self.norm_epochs, "0 or more")

    @property
    def decoder(self) -> str:
        """Name of the decoder on top of the backbone."""
        raise NotImplementedError

    def resolve_defaults(self) -> TaskConfig:
        """Return the options with the default of ``freeze_norm`` resolved."""
        return self if self.freeze_norm is not None else self.replace(freeze_norm=self.weights is not None)

    @property
    def default_name(self) -> str:
        """Default name of the run: decoder and backbone."""
        return f"{self.decoder}-{self.backbone}"
