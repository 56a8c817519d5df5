"""A run opened: its network with trained weights, with the data that it was made for or without."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import named_twice
from ttfs_cupy.common.shown import shown, shown_path
from ttfs_cupy.data import Batches, Dataset, InputDescription
from ttfs_cupy.data.sources.images import given_statistics, standardized_by
from ttfs_cupy.device import get_device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.input_record import read_class_names, read_input
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory
from ttfs_cupy.experiment.prepare import Experiment, network_of_run, prepare, read_dataset
from ttfs_cupy.experiment.run_weights import RunWeights, kept_path, load_best, load_kept

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

    def first_images(self, count: int | None) -> Batches:
        """The first so many images of the test set, in its order; None: all of them. Raises UserError, which calls it
        --images, where it is no such count."""
        test = self.experiment.test
        if count is None:
            return test
        check_count("--images", count)
        if count > len(test.images):
            raise UserError(f"--images {count} is more than the {len(test.images)} of the test set")
        images = test.images.take(np.arange(count))
        return Batches(images, min(test.batch_size, count), encode=test.encode, resident=test.resident)


def open_run(
    path: Path, overrides: Sequence[str] = (), device: str | None = None, epoch: int | None = None
) -> OpenedRun:
    """The run in that directory, with its data, nothing planned for training.

    overrides: of its config, `key=value` each. device: None for the config's. epoch: None for the best weights, else
    those of a checkpoint that training.keep kept. The log warns of classes by other names than the run's.
    Raises UserError where there is no such run, or no such weights, or the data are others than the run's.
    """
    run, config = _begin(path, overrides, device, epoch)
    # whoever names an algorithm here gets that one, or is refused it
    of_run = not any(item.startswith("network.convolution") for item in overrides)
    experiment = prepare(config, training=False, of_run=of_run)
    is_known = run.check_split(experiment.fingerprint)
    network = experiment.network
    for layer, algorithms in network.algorithms.items():
        logger.debug("%s is convolved by %s", layer, algorithms)
    source, weights = _take_weights(network, run, epoch)
    names, trained = experiment.dataset.class_names, weights.class_names
    if trained is not None and names is not None and names != trained:
        logger.warning("the run was trained on the classes %s, and these data have %s", shown(trained), shown(names))
    return OpenedRun(run, experiment, source, weights, is_known)


@dataclass(frozen=True)
class OpenedNetwork:
    """A run's network with the weights of `path`, without its data. images: what it is for. class_names: by label; None
    where the data set brought none. Nothing is planned: it takes batches of any size."""

    run: RunDirectory
    config: Config
    network: Network
    images: InputDescription
    class_names: tuple[str, ...] | None
    path: Path
    weights: RunWeights


def open_network(
    path: Path, overrides: Sequence[str] = (), device: str | None = None, epoch: int | None = None
) -> OpenedNetwork:
    """The network of the run in that directory. Its data set is read for a run of an earlier version alone, whose files
    do not say what the network's input is.

    overrides, device, epoch: as `open_run` takes them. Raises UserError where there is no such run, or no such weights.
    """
    run, config = _begin(path, overrides, device, epoch)
    source = run.best if epoch is None else kept_path(run, epoch)
    metadata = checkpoint.metadata(source)
    images, names = read_input(source, metadata), read_class_names(metadata)
    if images is None:
        dataset = _dataset_of(run, config)
        images, names = dataset.description, dataset.class_names if names is None else names
    # what --set says, as with the data set
    images = standardized_by(images, given_statistics(config.data.mean, config.data.std))
    network = network_of_run(config, get_device(config.device, config.threads)[0], images)
    source, weights = _take_weights(network, run, epoch)
    return OpenedNetwork(run, config, network, images, names, source, weights)


def _dataset_of(run: RunDirectory, config: Config) -> Dataset:
    try:
        return read_dataset(config)
    except UserError as error:
        raise UserError(
            f"{error} ('{run.path}' was made by a version that did not record what its network's input is, so its data "
            "set is needed)"
        ) from None


def _begin(path: Path, overrides: Sequence[str], device: str | None, epoch: int | None) -> tuple[RunDirectory, Config]:
    run = RunDirectory.existing(path)
    if epoch is None:
        best_weights.require(run)
    return run, load_config(run.config, [OWN_WEIGHTS, *overrides], {"device": device})


def _take_weights(network: Network, run: RunDirectory, epoch: int | None) -> tuple[Path, RunWeights]:
    """epoch: None for the best weights, else those of a kept checkpoint. Raises UserError if they are unfit."""
    if epoch is None:
        return run.best, load_best(network, run.best)
    return run.kept(epoch), load_kept(network, run, epoch)


def check_named_once(runs: Iterable[Path]) -> None:
    """Raises UserError where one run is named twice, by whatever paths: it would count twice."""
    if twice := named_twice(runs):
        names = " and ".join(f"'{shown_path(name)}'" for name in twice)
        raise UserError(f"{names} are one run: name it once")
