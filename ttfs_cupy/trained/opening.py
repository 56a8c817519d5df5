"""A run opened: its network with trained weights, and the data that it was made for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.shown import shown
from ttfs_cupy.engine.network import Network
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files import best_weights
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory
from ttfs_cupy.experiment.prepare import Experiment, RunWeights, load_best, load_kept, prepare

logger = logging.getLogger("ttfs_cupy")


@dataclass(frozen=True)
class OpenedRun:
    """A run whose network has the weights of `path`. is_known: whether its data are those that the run recorded; a run
    of an earlier version recorded none."""

    run: RunDirectory
    experiment: Experiment
    path: Path
    weights: RunWeights
    is_known: bool

    @property
    def network(self) -> Network:
        return self.experiment.network

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.experiment.dataset.class_names


def open_run(
    path: Path, overrides: Sequence[str] = (), device: str | None = None, epoch: int | None = None
) -> OpenedRun:
    """The run in that directory, with its data, nothing planned for training.

    overrides: of its config, `key=value` each. device: None for the config's. epoch: None for the best weights, else
    those of a checkpoint that training.keep kept. The log warns of classes by other names than the run's.
    Raises UserError where there is no such run, or no such weights, or the data are others than the run's.
    """
    run = RunDirectory.existing(path)
    if epoch is None:
        best_weights.require(run)
    config = load_config(run.config, [OWN_WEIGHTS, *overrides], {"device": device})
    # whoever names an algorithm here gets that one, or is refused it
    of_run = not any(item.startswith("network.convolution") for item in overrides)
    experiment = prepare(config, training=False, of_run=of_run)
    is_known = run.check_split(experiment.fingerprint)
    network = experiment.network
    for layer, algorithms in network.algorithms.items():
        logger.debug("%s is convolved by %s", layer, algorithms)
    if epoch is None:
        source, weights = run.best, load_best(network, run.best)
    else:
        source, weights = run.kept(epoch), load_kept(network, run, epoch)
    names, trained = experiment.dataset.class_names, weights.class_names
    if trained is not None and names is not None and names != trained:
        logger.warning("the run was trained on the classes %s, and these data have %s", shown(trained), shown(names))
    return OpenedRun(run, experiment, source, weights, is_known)
