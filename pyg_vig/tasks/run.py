"""Training run of a detector or segmenter, and the files that it writes."""

from __future__ import annotations

from pyg_vig.tasks.checkpoint import save_model
from pyg_vig.tasks.config import TaskConfig
from pyg_vig.tasks.module import TaskModule
from pyg_vig.train.curves import plot_curves
from pyg_vig.train.run_folder import CURVES_FIGURE, METRICS, checkpoint_to_resume, write_result
from pyg_vig.train.trainer import base_trainer, quiet
from pyg_vig.train.training_run import TrainingRun


class TaskRun(TrainingRun):
    """A training run of a detector or segmenter; it writes the files of :class:`pyg_vig.train.Run`, except for ``logs``
    and ``neighbors.png``.
    """

    config: TaskConfig
    module: TaskModule

    def fit(self) -> dict[str, float]:
        """Train (resuming after the last complete epoch), save the network, plot the curves and return the metrics."""
        config = self.config
        with quiet():
            trainer = base_trainer(
                config,
                self.folder,
                gradient_clip_val=config.clip or None,
                check_val_every_n_epoch=config.evaluate_every,
                logger=False,
            )
            trainer.fit(self.module, self.data, ckpt_path=checkpoint_to_resume(self.folder), weights_only=True)
            metrics = dict(trainer.validate(self.module, self.data, verbose=False)[0])
        if trainer.is_global_zero:
            save_model(self.module.model.cpu().eval(), self.weights)
            write_result(self.folder, metrics)
            plot_curves(self.folder / METRICS, self.folder / CURVES_FIGURE, self.folder.name)
        return metrics
