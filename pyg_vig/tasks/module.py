"""Base of the LightningModules for dense tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyg_vig.nn.norm import freeze_batch_norms
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.train.module import TrainingModule
from pyg_vig.train.schedule import learning_rate_factor


class TaskModule(TrainingModule):
    """LightningModule of a backbone with a decoder: a choice of schedules, and batch norms that can be frozen."""

    config: TaskConfig

    def on_train_epoch_start(self) -> None:
        """Freeze the statistics of batch norms from epoch ``norm_epochs`` on."""
        if self.config.norm_epochs is not None and self.current_epoch >= self.config.norm_epochs:
            freeze_batch_norms(self.model)

    def schedule(self, total: int) -> Callable[[int], float]:
        """Return the configured learning-rate schedule, preceded by the warm-up."""
        config = self.config
        milestones = [epoch / config.epochs for epoch in config.milestones]
        return partial(
            learning_rate_factor,
            schedule=config.schedule,
            total=total,
            warmup=config.warmup_steps,
            milestones=milestones,
        )
