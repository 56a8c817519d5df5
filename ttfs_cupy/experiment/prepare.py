"""From a config to the things that it describes: device, data, network, optimiser."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.choice import AUTO, UnavailableError, algorithms_named, name_for
from ttfs_cupy.data import (
    Batches,
    Dataset,
    ImageSet,
    InputDescription,
    Split,
    class_weights,
    fingerprint,
    load_dataset,
    mixing,
    split,
)
from ttfs_cupy.data.share import WHOLE, Share
from ttfs_cupy.device import Device
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Limits, Optimizer, Sgd
from ttfs_cupy.experiment.agreement import in_turns, told
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.initial_weights import begin_with
from ttfs_cupy.models import LinearSpec, build, encoder_of
from ttfs_cupy.models import read as read_model
from ttfs_cupy.neuron.encoding import Encoder
from ttfs_cupy.ranks.devices import get_device_of_rank
from ttfs_cupy.ranks.group import ALONE, Group

logger = logging.getLogger("ttfs_cupy")


@dataclass(frozen=True)
class Experiment:
    """All that a run needs but its directory. device_reason says why it is this device, begun_with, line by line, which
    weights of a file are which layer's, where the network did not draw its own. group: the processes that it is of."""

    config: Config
    device: Device
    device_reason: str
    dataset: Dataset
    network: Network
    training: Batches
    validation: Batches
    test: Batches
    begun_with: tuple[str, ...] = ()
    group: Group = ALONE

    @cached_property
    def fingerprint(self) -> Mapping[str, Any]:
        """What tells the data and their split from others (data/split.py): a digest of all pixels."""
        held_out = self.validation.members
        used = None if self.config.data.subset is None else np.union1d(self.training.members, held_out)
        return fingerprint(self.dataset.train, self.dataset.test, held_out, used)

    def optimizer(self) -> Optimizer:
        """A fresh optimiser of the network's parameters, as the config says."""
        chosen = self.config.optimizer
        low, high = chosen.weight_clip or (-math.inf, math.inf)
        bounds = (chosen.clip_norm or math.inf, (low, high))
        limits = Limits(chosen.weight_decay, *bounds, chosen.fixed_sign, chosen.l2)
        parameters = self.network.parameters
        if chosen.name == "sgd":
            return Sgd(self.device, parameters, chosen.lr, momentum=chosen.momentum, limits=limits)
        return Adam(
            self.device,
            parameters,
            chosen.lr,
            beta1=chosen.beta1,
            beta2=chosen.beta2,
            eps=chosen.eps,
            limits=limits,
        )


def prepare(config: Config, *, training: bool = True, of_run: bool = False, group: Group = ALONE) -> Experiment:
    """Loads the data, builds the network, tunes it and plans its arrays; the config then names its algorithms.

    of_run: the config is a run's own, whose algorithms were chosen for the device that it ran on. Where this device
    lacks one, its layer's are chosen anew, which the log says in a line.
    group: the processes that it is prepared for. Each gets its share of every batch; rank 0 chooses the algorithms.
    Raises UserError for whatever does not fit.
    """
    check_kind("config", config, Config)
    device, reason = get_device_of_rank(group, config.device, config.threads)
    dataset = in_turns(group, lambda: read_dataset(config))
    images = dataset.description
    network, lacking = _network_of_run(config, device, images) if of_run else (network_of(config, device, images), [])
    begun_with = _begin(network, config)
    if training:
        _warn_of_two_readouts(config, dataset.classes)
    training_images, held_out = split_of(config, dataset)
    share = Share(group.rank, group.size)
    batches = training_batches(config, dataset, training_images, network.encoder, share)
    # what does not fit is told before anything is timed
    class_weights(config.data.class_weights, batches.labels, dataset.classes)
    batch_size = share.most(config.training.batch_size)
    chosen = told(group, lambda: _tuned(config, network, lacking, batch_size, training=training))
    config = _convolved_by(config, chosen)
    _convolve_by(network, chosen)
    network.compile_ahead(batch_size, training=training, slopes=_slopes(config))
    network.plan(batch_size, training=training)
    return Experiment(
        config,
        device,
        reason,
        dataset,
        network,
        batches,
        _in_order(dataset.train, held_out, config, network, share),
        _in_order(dataset.test, np.arange(len(dataset.test)), config, network, share),
        begun_with,
        group,
    )


def _tuned(
    config: Config, network: Network, lacking: Sequence[str], batch_size: int, *, training: bool
) -> dict[str, str]:
    """The algorithms that convolve each layer, which are part of what a run is resumed, and evaluated, with: timed on
    the device, if the config asks for it."""
    if config.tune and config.network.convolution == AUTO:
        network.tune(batch_size)
    if lacking:
        if config.tune and training:
            network.tune(batch_size, only=lacking)
        logger.info("%s", _chosen_anew(config, network, lacking))
    return {name: algorithms for name, algorithms in network.algorithms.items() if name.startswith("conv")}


def _convolve_by(network: Network, chosen: Mapping[str, str]) -> None:
    """Has the network, which is not planned yet, use rank 0's algorithms. Raises UserError where this device lacks
    one."""
    for layer in network.layers:
        if isinstance(layer, Weighted) and not layer.flat and layer.algorithms.name != chosen[layer.name]:
            on = network.device, layer.shape, layer.name, network.wanted_precision
            layer.algorithms = algorithms_named(chosen[layer.name], *on)


def read_dataset(config: Config) -> Dataset:
    """The data set that the config names. Raises UserError where it cannot be read, and for numbers that the
    network has no use for."""
    _refuse_idle_statistics(config)
    return load_dataset(
        config.data.dataset,
        Path(config.data.root),
        download=config.data.download,
        size=config.data.size,
        channels=config.data.channels,
        test=config.data.test,
        time_window=config.data.time_window,
        mean=config.data.mean,
        std=config.data.std,
        threads=config.threads,
    )


def _refuse_idle_statistics(config: Config) -> None:
    """Raises UserError where data.mean is set, and the network reads pixels as they are."""
    wanted = config.network
    if config.data.mean is None or wanted.standardize:
        return
    if (wanted.encoding or read_model(wanted.model).encoding) == "latency":
        raise UserError(
            "data.mean and data.std have no effect, since nothing is standardised: leave them out, or choose "
            "network.standardize or encoding direct"
        )


def split_of(config: Config, dataset: Dataset) -> Split:
    """Which training images the config trains on, and which it holds out. Raises UserError where that cannot be."""
    return split(dataset.train.labels, config.data.validation, config.seed, config.data.subset)


def training_batches(
    config: Config, dataset: Dataset, members: NDArray[np.int64], encoder: Encoder, share: Share = WHOLE
) -> Batches:
    """The batches that the config trains on, of these images, as that encoder codes them; or a rank's share of each.
    Raises UserError where there are too few."""
    batch_size = config.training.batch_size
    if batch_size > len(members):
        raise UserError(
            f"training.batch_size {batch_size} is larger than the training set of {len(members)} images "
            f"({config.data.dataset} without its validation share)"
        )
    accumulate = config.training.accumulate
    if (accumulate - 1) * batch_size >= len(members):
        raise UserError(
            f"training.accumulate {accumulate} asks for more batches of {batch_size} than the training set of "
            f"{len(members)} images has ({config.data.dataset} without its validation share)"
        )
    return Batches(
        dataset.train,
        batch_size,
        encode=encoder,
        members=members,
        shuffle=True,
        sampling=config.data.sampling,
        seed=config.seed,
        augment=config.data.augment,
        mix=mixing(config.data.mix, config.data.mix_alpha),
        resident=config.data.resident,
        share=share,
    )


def input_encoder(config: Config, images: InputDescription) -> Encoder:
    """The encoder of the network that the config describes, which is not built. Raises UserError if it cannot be."""
    wanted, channels = config.network, images.shape[0]
    code = (wanted.t_win, wanted.encoding, wanted.standardize)
    return encoder_of(wanted.model, channels, *code, images.mean, images.std)


def network_of_run(config: Config, device: Device, images: InputDescription) -> Network:
    """The network that a run's own config describes, with drawn weights, for inference alone: nothing is timed, and
    nothing planned. Where the device lacks one of its algorithms, the log says in a line what takes its place.

    Raises UserError if it cannot be built.
    """
    network, lacking = _network_of_run(config, device, images)
    if lacking:
        logger.info("%s", _chosen_anew(config, network, lacking))
    return network


def _network_of_run(config: Config, device: Device, images: InputDescription) -> tuple[Network, list[str]]:
    """The network with what this device has of the algorithms that a run's config names; and the layers that lack
    theirs, whose algorithms are chosen by shape."""
    wanted, named = config, config.network.convolution
    lacking: list[str] = []
    while True:
        try:
            return network_of(wanted, device, images), lacking
        except UnavailableError as error:
            # it comes before weights are drawn, so beginning again is cheap
            if isinstance(named, str) or error.layer in lacking:
                raise
            lacking.append(error.layer)
            wanted = _convolved_by(config, {**named, **dict.fromkeys(lacking, AUTO)})


def _chosen_anew(config: Config, network: Network, lacking: Sequence[str]) -> str:
    convolution = config.network.convolution
    changes = (f"{name} by {network.algorithms[name]}, not {name_for(convolution, name)}" for name in lacking)
    return f"{network.device.name} lacks algorithms that this run was made with: it convolves {', '.join(changes)}"


def _convolved_by(config: Config, algorithms: Mapping[str, str]) -> Config:
    return config.model_copy(update={"network": config.network.model_copy(update={"convolution": algorithms})})


def _in_order(images: ImageSet, members: NDArray[np.int64], config: Config, network: Network, share: Share) -> Batches:
    size = min(config.training.batch_size, len(members))
    return Batches(images, size, encode=network.encoder, members=members, resident=config.data.resident, share=share)


def network_of(config: Config, device: Device, images: InputDescription) -> Network:
    """The network that the config describes, with drawn weights. Raises UserError if it cannot be built."""
    wanted = config.network
    slope = wanted.psp_slope
    return build(
        wanted.model,
        images.shape,
        images.classes,
        device,
        seed=config.seed,
        t_win=wanted.t_win,
        psp_slope=slope.at(0.0) if isinstance(slope, PspSlopeSchedule) else slope,
        clip=wanted.clip,
        grad_clip=wanted.grad_clip,
        readout=wanted.readout,
        silent=wanted.silent,
        encoding=wanted.encoding,
        standardize=wanted.standardize,
        mean=images.mean,
        std=images.std,
        weight_mean=wanted.weight_mean,
        weight_std=wanted.weight_std,
        normalization=wanted.normalization,
        initial_potential=wanted.initial_potential,
        convolution=wanted.convolution,
        precision=wanted.precision,
    )


def _begin(network: Network, config: Config) -> tuple[str, ...]:
    """Takes the weights that the config names, if it does; returns what of their file went where."""
    source = config.network.initial_weights
    if source is None:
        return ()
    lines = begin_with(network, Path(source))
    # from here on the network is what its training will start from
    network.parameters.to_values()
    return tuple(lines)


def _warn_of_two_readouts(config: Config, classes: int) -> None:
    """A model's layers are those below its readout; elsewhere it is often written among them."""
    if read_model(config.network.model).layers[-1] == LinearSpec(classes):
        logger.warning(
            "network.model ends in a spiking layer of %d neurons, and a readout of as many follows by itself: leave "
            "that layer out if it was meant as the readout",
            classes,
        )


def _slopes(config: Config) -> tuple[float, ...]:
    """psp_slope; of a schedule both ends, since between them it is 0 only if both are."""
    slope = config.network.psp_slope
    return (slope.from_, slope.to) if isinstance(slope, PspSlopeSchedule) else (slope,)
