"""Loss, accuracy and firing rates over a set; on a GPU each batch is one CUDA graph, launched anew."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.command import loudness
from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.batch_step import BatchStep
from ttfs_cupy.engine.steps.class_counts import ClassCounts, ClassTotals
from ttfs_cupy.engine.steps.firing_rates import FiringRates
from ttfs_cupy.engine.steps.spike_times import SpikeTimes
from ttfs_cupy.engine.validity import Labels


@dataclass(frozen=True)
class Evaluation:
    """A pass over a set: mean loss, accuracy, the firing rate of each spiking layer, and accuracy by class.

    saturations: by layer, the share of neurons that fire as their window opens.
    spike_times: of an evaluator that counts them, by spiking layer, how many spikes fell into each of equal shares of
    the window, int64 (SPIKE_TIME_BINS,).
    """

    totals: Totals
    firing_rates: dict[str, float]
    classes: ClassTotals
    saturations: dict[str, float]
    spike_times: dict[str, np.ndarray] | None = None


class Evaluator(BatchStep):
    """Measures a network, as it is at the time, in batches of up to `batch_size` images.

    spike_times: whether it counts them, too, which takes a launch more for each spiking layer.
    """

    training = False
    called = "evaluations"

    def __init__(self, network: Network, batch_size: int, *, capture: bool = True, spike_times: bool = False):
        super().__init__(network, batch_size, capture=capture)
        self._rates, self._classes = FiringRates(network), ClassCounts(network)
        self._times = SpikeTimes(network) if spike_times else None

    def over(self, batches: Batches, description: str) -> Evaluation:
        """Every image of a set. Nothing is read back before the last batch; `network.loss` starts anew.

        Other threads wait for their turn. Raises TypeError or ValueError for images or labels that do
        not suit the network.
        """
        check_kind("batches", batches, Batches)
        with self._network.turns.take():
            return self._over(batches, description)

    def _over(self, batches: Batches, description: str) -> Evaluation:
        network, rates, times = self._network, self._rates, self._times
        # first, as it refuses what does not suit
        made = self.each(batches, 0)
        network.plan(self._batch_size, training=self.training)
        network.loss.reset()
        rates.reset()
        self._classes.reset()
        if times is not None:
            times.reset()
        for _ in tqdm(
            made, total=len(batches), desc=description, unit="batch", leave=False, disable=loudness.hides_bars()
        ):
            self.run()
        totals = network.loss.read()
        images, counted = totals.images, None if times is None else times.read()
        rated = rates.read(images), self._classes.read(), rates.read_saturations(images)
        return Evaluation(totals, *rated, counted)

    def _work(self, inputs: Array, labels: Labels) -> None:
        readout = self._network.run(inputs, watch=self._watch)
        self._network.loss.add(readout, labels)
        self._classes.add(labels)

    def _watch(self, layer: Layer, output: Array) -> None:
        self._rates.watch(layer, output)
        if self._times is not None:
            self._times.watch(layer, output)
