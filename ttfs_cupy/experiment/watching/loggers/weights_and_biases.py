"""Weights & Biases: files in the run's directory, which `wandb sync` sends, unless WANDB_MODE says otherwise."""

import logging
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttfs_cupy.common.packages import imported
from ttfs_cupy.experiment.watching.loggers.identities import Identities
from ttfs_cupy.experiment.watching.loggers.interface import EpochReport, RunReport

logger = logging.getLogger("ttfs_cupy")

INSTALL = "pip install 'ttfs-cupy[wandb]'"


def require() -> None:
    """Raises UserError where wandb is not installed."""
    # nobody is told of our users' errors unless they want it
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    imported("wandb", "wandb", INSTALL)


class WeightsAndBiases:
    """A run that goes on has the identity that it began with."""

    def __init__(self, folder: Path, identities: Identities):
        require()
        self._folder, self._identities = folder, identities
        self._run: Any = None

    def begin(self, run: RunReport) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "ttfs_cupy"),
            id=self._identities.of("wandb", lambda: secrets.token_hex(4)),
            name=run.name,
            dir=str(self._folder),
            config=dict(run.config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            # the console is the run's own, and so is what is told
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )
        self._run.define_metric("*", step_metric="epoch")
        if self._run.settings.mode == "offline":
            folder = Path(self._run.settings.sync_dir)
            logger.info("wandb has the run on disk; send it with: wandb sync %s", shlex.quote(str(folder)))

    def epoch(self, epoch: EpochReport) -> None:
        import wandb

        histograms = {
            f"spike_times/{layer}": wandb.Histogram(np_histogram=(counts.tolist(), epoch.edges(counts).tolist()))
            for layer, counts in epoch.spike_times.items()
        }
        self._run.log({"epoch": epoch.number, **epoch.values, **histograms}, step=epoch.number)

    def end(self, test: Mapping[str, float] | None) -> None:
        if self._run is None:
            return
        if test is not None:
            self._run.summary.update(dict(test))
        self._run.finish(exit_code=0 if test is not None else 1)
