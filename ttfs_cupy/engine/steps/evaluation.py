"""Loss, accuracy and firing rates over a set; on a GPU each batch is one CUDA graph, launched anew."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.command import loudness
from ttfs_cupy.data import Batches, Share
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.batch_step import BatchStep
from ttfs_cupy.engine.steps.class_counts import ClassCounts, ClassTotals
from ttfs_cupy.engine.steps.firing_rates import FiringRates
from ttfs_cupy.engine.steps.spike_times import SpikeTimes
from ttfs_cupy.engine.validity import Labels
from ttfs_cupy.ranks.group import ALONE, Group


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

    spike_times: whether it counts them, too, which takes a launch more for each spiking layer. group: the ranks that
    share the batches, each of which measures its own images; what they count is added up, so that all get the same
    Evaluation: that of one rank, but for the rounding of the loss's sum. Where the loss of a batch is not finite, the
    mean is NaN as with one rank, and not_finite counts the ranks' parts of batches (Totals).
    """

    training = False
    called = "evaluations"

    def __init__(
        self,
        network: Network,
        batch_size: int,
        *,
        capture: bool = True,
        spike_times: bool = False,
        group: Group = ALONE,
    ):
        super().__init__(network, batch_size, capture=capture)
        self._group = group
        self._rates, self._classes = FiringRates(network), ClassCounts(network)
        self._times = SpikeTimes(network) if spike_times else None

    def over(self, batches: Batches, description: str, after_batch: Callable[[], None] = lambda: None) -> Evaluation:
        """Every image of a set. Nothing is read back before the last batch; `network.loss` starts anew, and is of this
        rank's images. after_batch: called after each one; what it raises breaks the pass off.

        Other threads wait for their turn. Raises TypeError or ValueError for images or labels that do
        not suit the network, for batches that are not shared as the group is, and LostRankError.
        """
        check_kind("batches", batches, Batches)
        share = Share(self._group.rank, self._group.size)
        if batches.share != share:
            raise ValueError(f"batches must be of {share}, as the evaluator's group is, not of {batches.share}")
        with self._network.turns.take():
            return self._over(batches, description, after_batch)

    def _over(self, batches: Batches, description: str, after_batch: Callable[[], None]) -> Evaluation:
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
            after_batch()
        group = self._group
        totals = Totals.of_all(group.sum(np.array(network.loss.sums())).tolist())
        images, counted = totals.images, None if times is None else times.read(group)
        rated = rates.read(images, group), self._classes.read(group), rates.read_saturations(images, group)
        return Evaluation(totals, *rated, counted)

    def _work(self, inputs: Array, labels: Labels, images: int) -> None:
        if not len(inputs):
            return
        readout = self._network.run(inputs, watch=self._watch)
        self._network.loss.add(readout, labels)
        self._classes.add(labels)

    def _watch(self, layer: Layer, output: Array) -> None:
        self._rates.watch(layer, output)
        if self._times is not None:
            self._times.watch(layer, output)
