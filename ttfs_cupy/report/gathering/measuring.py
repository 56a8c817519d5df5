"""What a run's network does on every test image, by one pass over the set; and by one more over a few images."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.energy.counting import OperationCounter, Operations
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.evaluation import Evaluation
from ttfs_cupy.engine.steps.prediction import predict
from ttfs_cupy.engine.steps.spike_times import SpikeTimes
from ttfs_cupy.trained.decision import decisions, drives_of, probabilities
from ttfs_cupy.trained.opening import OpenedRun


class _Neurons:
    """Counts, for each neuron of the spiking layers, on how many images it fired, and on how many as its window
    opened."""

    def __init__(self, network: Network):
        self._network = network
        self._fired: dict[str, Array] = {}
        self._at_once: dict[str, Array] = {}

    def watch(self, layer: Layer, output: Array) -> None:
        if layer.is_spiking:
            for counts, are in ((self._fired, output != 0), (self._at_once, output == np.float32(self._network.t_win))):
                found = are.sum(axis=0, dtype=np.int64).reshape(-1)
                counts[layer.name] = counts[layer.name] + found if layer.name in counts else found

    def read(self) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
        to_host = self._network.device.to_host
        fired, at_once = ({name: to_host(c) for name, c in counts.items()} for counts in (self._fired, self._at_once))
        return fired, at_once


@dataclass(frozen=True)
class Measurements:
    """Of N test images, in their order.

    labels, predicted: classes, (N,). readout: float32 (N, K), membrane potentials, or earliness where readout_fires.
    fired, at_once: by spiking layer, for each of its neurons on how many images it fired, and fired as its window
    opened, int64 (neurons,). spike_times: by layer, spikes in each of equal shares of the window, int64 (bins,).
    silent: what silent classes are in the softmax.
    margins, times: float32 (N,), as Decisions has them; None where readouts or their differences are not finite.
    """

    labels: NDArray[np.int32]
    predicted: NDArray[np.int64]
    readout: NDArray[np.float32]
    evaluation: Evaluation
    fired: dict[str, NDArray[np.int64]]
    at_once: dict[str, NDArray[np.int64]]
    spike_times: dict[str, NDArray[np.int64]]
    psp_slope: float
    readout_fires: bool
    silent: str
    margins: NDArray[np.float32] | None
    times: NDArray[np.float32] | None
    operations: Operations

    @property
    def is_right(self) -> NDArray[np.bool_]:
        return self.labels == self.predicted

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K): how many images of a class, the row, were predicted as one, the column."""
        classes = self.readout.shape[1]
        places = self.labels.astype(np.int64) * classes + self.predicted
        return np.bincount(places, minlength=classes * classes).reshape(classes, classes)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(N,): the softmax of the predicted class; NaN where the readout has one."""
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = probabilities(self.readout, self.silent).max(axis=1)
        return found


def measure(opened: OpenedRun) -> Measurements:
    """Every test image through the network with the run's weights."""
    network, test = opened.network, opened.experiment.test
    operations = OperationCounter(network)
    neurons, times, last = _Neurons(network), SpikeTimes(network), network.layers[-1]
    readouts: list[NDArray[np.float32]] = []
    drives: list[NDArray[np.float32]] = []

    def watch(layer: Layer, output: Array) -> None:
        neurons.watch(layer, output)
        times.watch(layer, output)
        operations.watch(layer, output)
        if layer is last:
            readouts.append(network.device.to_host(output).reshape(len(output), -1).copy())
            if (begun := drives_of(network, readouts[-1])) is not None:
                drives.append(begun)

    found = predict(network, test, watch=watch)
    fired, at_once = neurons.read()
    readout = np.concatenate(readouts)
    decided = decisions(network, readout, np.concatenate(drives) if drives else None) if _can_decide(readout) else None
    margins, moments = (None, None) if decided is None else (decided.margins, decided.times)
    counted = (found.evaluation, fired, at_once, times.read())
    totals = found.evaluation.totals
    done = Operations(totals.images, network.psp_slope, totals.accuracy, operations.read(totals.images))
    rule = (network.psp_slope, last.is_spiking, network.silent)
    return Measurements(test.labels, found.classes, readout, *counted, *rule, margins, moments, done)


def _can_decide(readout: NDArray[np.float32]) -> bool:
    """Whether readouts are finite, and so are their differences."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.ptp(readout, axis=1)).all())


def confident_mistakes(measured: Measurements, most: int) -> NDArray[np.int64]:
    """Up to so many test images whose class is predicted wrongly, with the highest probability first; of equal ones the
    first in the set."""
    wrong = np.flatnonzero(~measured.is_right & np.isfinite(measured.probabilities))
    order = np.argsort(-measured.probabilities[wrong], kind="stable")
    return wrong[order][:most]


def spikes_of(opened: OpenedRun, images: NDArray[np.int64]) -> list[tuple[str, NDArray[np.float32]]]:
    """Earliness of the input and of each spiking layer for these test images, (images, neurons), in the order of their
    windows. An input that consists of no spikes is left out, and so is a readout that does not fire."""
    network, test = opened.network, opened.experiment.test
    batches = Batches(test.images, len(images), encode=network.encoder, members=images)
    found: list[tuple[str, NDArray[np.float32]]] = []

    def keep(name: str, output: Array) -> None:
        found.append((name, network.device.to_host(output).reshape(len(output), -1).copy()))

    def watch(layer: Layer, output: Array) -> None:
        if layer.is_spiking:
            keep(layer.name, output)

    with network.turns.take(), network.device.current():
        network.plan(len(images))
        for batch in batches.epoch(0, network.device):
            if network.encoder.is_spike_code:
                keep("input", batch.inputs)
            network.run(batch.inputs, watch=watch)
    return found
