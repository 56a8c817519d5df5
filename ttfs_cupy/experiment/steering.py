"""A run that goes on with other settings: what is said of it, and where it is recorded."""

import logging
from collections.abc import Mapping
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import written_aside
from ttfs_cupy.common.shown import shown
from ttfs_cupy.experiment.agreement import told
from ttfs_cupy.experiment.config import Config, changes
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.metrics import AFTER
from ttfs_cupy.experiment.trainer import Trainer

logger = logging.getLogger("ttfs_cupy")


def take_changes(before: Config, trainer: Trainer) -> None:
    """Records in metrics.jsonl and config.yaml what is no longer as it was `before`, of a trainer that has resumed.

    Raises UserError where the changes do not suit a run that has come so far, or a file cannot be written.
    """
    progress = trainer.progress
    found = changes.record(before, trainer.config)
    if not found:
        return
    # the files are rank 0's, and so is what they say of the best weights
    best = told(trainer.group, lambda: _record(before, trainer, found))
    progress.best_epoch, progress.best_accuracy = best


def _record(before: Config, trainer: Trainer, found: Mapping[str, list[Any]]) -> tuple[int, float]:
    """Writes what has changed; returns the best epoch so far, and its accuracy."""
    run, metrics, progress = trainer.run, trainer.metrics, trainer.progress
    _check_epochs(before, trainer)
    # reads a file, which may be damaged: before anything is written
    keeps_best = _keeps_best(trainer)
    loses_best = not keeps_best and best_weights.epoch_of(run) is not None
    if progress.epochs >= trainer.config.training.epochs and not keeps_best:
        raise UserError(
            "the run is over, and with these settings would have no best weights: raise training.epochs, too"
        )
    _, content = config_text.read(run.config)
    text = config_text.write(changes.put(content, before, trainer.config))
    line = {AFTER: progress.epochs, "step": progress.step, "changes": found}
    with written_aside(run.config, text.encode()):
        # killed before this block's end, it is there already
        if line not in metrics.lines:
            metrics.add(**line)
    told = ", ".join(f"{key} {shown(old)} -> {shown(new)}" for key, (old, new) in found.items())
    logger.info("changed %s: %s", progress.described(trainer.length), told)
    if loses_best:
        logger.info("the best weights so far are of another run from here on, and do not count: %s", run.best)
        run.best.unlink()
        return 0, -1.0
    return progress.best_epoch, progress.best_accuracy


def _check_epochs(before: Config, trainer: Trainer) -> None:
    epochs, progress = trainer.config.training.epochs, trainer.progress
    begun = progress.epochs + (progress.batches > 0)
    if epochs < begun and epochs != before.training.epochs:
        raise UserError(f"training.epochs cannot be {epochs}: the run is in its epoch {begun} already")


def _keeps_best(trainer: Trainer) -> bool:
    """Whether best.safetensors is of an epoch of this run, with the psp_slope that it will end with.

    Killed after that file, and before last.safetensors, a run goes on from an earlier epoch, and differs from there on.
    """
    config, epoch = trainer.config, best_weights.epoch_of(trainer.run)
    if epoch is None or epoch > trainer.progress.epochs or epoch < best_weights.first_epoch(config):
        return False
    slope = config.network.psp_slope
    final = slope.to if isinstance(slope, PspSlopeSchedule) else slope
    return bool(checkpoint.metadata(trainer.run.best).get("psp_slope") == final)
