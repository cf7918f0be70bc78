"""Lightning trainers configured by the options of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import FSDPStrategy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pyg_vig.nn import InvertedResidual, ViGBlock
from pyg_vig.train.callbacks import AtomicCheckpointIO, MetricsFile, RunProgress, StepLog, StopOnNonFiniteLoss
from pyg_vig.train.config import RunConfig
from pyg_vig.train.options import RunOptions
from pyg_vig.train.run_folder import LAST_CHECKPOINT, LOGS, METRICS


def classification_trainer(config: RunConfig, folder: Path) -> L.Trainer:
    """Create a trainer that writes to the folder of a run, or nowhere with ``fast_dev_run``."""
    fast_dev_run = config.fast_dev_run
    callbacks: list[Callback] = [] if fast_dev_run else [StepLog(config.log_every)]
    if config.ema:
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(config.ema)))
    return base_trainer(
        config,
        None if fast_dev_run else folder,
        callbacks,
        sync_norms=config.sync_norms,
        num_nodes=config.nodes,
        strategy=_strategy(config),
        accumulate_grad_batches=config.accumulate,
        logger=False if fast_dev_run else [_logger(name, config, folder) for name in config.loggers],
        log_every_n_steps=config.log_every,
        fast_dev_run=fast_dev_run,
    )


def base_trainer(
    config: RunOptions,
    folder: Path | None,
    callbacks: Sequence[Callback] = (),
    *,
    sync_norms: bool = True,
    **options: Any,
) -> L.Trainer:
    """Create a trainer for any kind of run, which writes a checkpoint to resume from and the metrics.

    Args:
        config: options of the run.
        folder: folder of the run; ``None`` writes nothing.
        callbacks: additional callbacks.
        sync_norms: synchronise batch norms over all processes; only on GPUs.
        **options: additional arguments of Lightning's trainer.
    """
    gpus = config.accelerator != "cpu" and torch.cuda.is_available()
    return L.Trainer(
        accelerator=config.accelerator,
        devices=(-1 if gpus else 1) if config.devices == "auto" else config.devices,
        sync_batchnorm=sync_norms and gpus,
        precision=config.precision,
        max_epochs=config.epochs,
        callbacks=[StopOnNonFiniteLoss(), RunProgress(), *_checkpoint_callbacks(folder), *callbacks],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        enable_checkpointing=folder is not None,
        enable_model_summary=False,
        use_distributed_sampler=False,  # EpochSampler and the evaluation loader distribute the images
        **options,
    )


def evaluation_trainer(config: RunConfig) -> L.Trainer:
    """Create a trainer for one process that writes nothing."""
    return L.Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=config.precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's notes on the machine and its warnings about deliberate choices (folder, loader workers)."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", r".*module\(s\) in eval mode at the start.*", UserWarning)  # frozen norms
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*", UserWarning)
        warnings.filterwarnings("ignore", ".*already exists and is not empty|Checkpoint directory.*", UserWarning)
        try:
            yield
        finally:
            logger.setLevel(level)


def _strategy(config: RunConfig) -> Any:
    if config.strategy != "fsdp":
        return config.strategy
    return FSDPStrategy(auto_wrap_policy={ViGBlock, InvertedResidual}, state_dict_type="full")


def _checkpoint_callbacks(folder: Path | None) -> list[Callback]:
    if folder is None:
        return []
    checkpoints = ModelCheckpoint(
        folder, filename=Path(LAST_CHECKPOINT).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [checkpoints, MetricsFile(folder / METRICS)]


def _logger(name: str, config: RunConfig, folder: Path) -> Logger:
    if name == "csv":
        return CSVLogger(folder, name=LOGS)  # a new version folder for every start of the run
    if name == "tensorboard":
        return TensorBoardLogger(folder, name=LOGS)
    return WandbLogger(name=config.name, save_dir=folder, project="pyg_vig", id=config.name, resume="allow")
