"""A run that goes on with other settings: what is said of it, and where it is recorded."""

import logging

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.experiment.config import Config, changes
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.files import best_weights
from ttfs_cupy.experiment.files.metrics import AFTER
from ttfs_cupy.experiment.trainer import Trainer

logger = logging.getLogger("ttfs_cupy")


def take_changes(before: Config, trainer: Trainer) -> None:
    """Records in metrics.jsonl and config.yaml what is no longer as it was `before`, of a trainer that has resumed.

    Raises UserError where the changes do not suit a run that has come so far, or a file cannot be written.
    """
    run, metrics, progress = trainer.run, trainer.metrics, trainer.progress
    found = changes.record(before, trainer.config)
    if not found:
        return
    _check(before, trainer)
    _, content = config_text.read(run.config)
    run.write_config(config_text.write(changes.put(content, before, trainer.config)))
    metrics.add(**{AFTER: progress.epochs}, step=progress.step, changes=found)
    told = ", ".join(f"{key} {shown(old)} -> {shown(new)}" for key, (old, new) in found.items())
    logger.info("changed %s: %s", progress.described(trainer.length), told)


def _check(before: Config, trainer: Trainer) -> None:
    epochs, progress = trainer.config.training.epochs, trainer.progress
    begun = progress.epochs + (progress.batches > 0)
    if epochs < begun and epochs != before.training.epochs:
        raise UserError(f"training.epochs cannot be {epochs}: the run is in its epoch {begun} already")
    newest = best_weights.epoch_of(trainer.run)
    if newest is not None and newest > progress.epochs:
        # they would be called the best of a run that has never had them
        raise UserError(
            f"'{trainer.run.best}' is of epoch {newest}, and the run goes on from its epoch {progress.epochs}: go on "
            "without changes first, until that epoch is over"
        )
