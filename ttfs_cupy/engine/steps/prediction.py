"""Each image's predicted class, also by a network with noise: kernel by kernel, and read back batch by batch."""

from dataclasses import dataclass

import numpy as np

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network, Watcher
from ttfs_cupy.engine.steps.class_counts import ClassCounts
from ttfs_cupy.engine.steps.evaluation import Evaluation
from ttfs_cupy.engine.steps.firing_rates import FiringRates
from ttfs_cupy.engine.steps.noise import Noise, SpikeNoise, weights_rounded

NO_NOISE = Noise()


@dataclass(frozen=True)
class Predictions:
    """A pass over a set. classes: predicted, int64 (N,), in the set's order; for a readout with a NaN the place of its
    first one, which the evaluation counts as wrong. evaluation: what Evaluator measures."""

    classes: np.ndarray
    evaluation: Evaluation

    def changed(self, other: "Predictions") -> float:
        """The share of images that another pass over the same set predicted otherwise."""
        return float((self.classes != other.classes).mean())


def predict(
    network: Network, batches: Batches, noise: Noise = NO_NOISE, *, watch: Watcher | None = None
) -> Predictions:
    """Every image of a set that is not shuffled; `network.loss` starts anew. Other threads wait for their turn.

    watch: is told of every layer's output as the next layer reads it, noise included. Raises TypeError or ValueError
    for images or labels that do not suit the network, and for sets that are shuffled or mixed.
    """
    check_kind("batches", batches, Batches)
    check_kind("noise", noise, Noise)
    if batches.shuffle or batches.mix is not None:
        raise ValueError("batches must come in the set's order, each image by itself: without shuffle and mix")
    network.validity.check_batches(batches)
    moves, rates, counts = SpikeNoise(network, noise), FiringRates(network), ClassCounts(network)
    watchers = [*([moves.watch] if noise.moves_spikes else []), rates.watch, *([watch] if watch is not None else [])]

    def tell(layer: Layer, output: Array) -> None:
        for told in watchers:
            told(layer, output)

    device, classes = network.device, []
    with network.turns.take(), device.current(), weights_rounded(network, noise):
        network.plan(batches.batch_size)
        network.loss.reset()
        for batch in batches.epoch(0, network.device):
            inputs = moves.encoded(batch.inputs) if noise.moves_spikes else batch.inputs
            readout = network.run(inputs, watch=tell)
            network.loss.add(readout, batch.labels)
            counts.add(batch.labels)
            classes.append(device.to_host(readout).argmax(axis=1))
        totals = network.loss.read()
    images = totals.images
    evaluation = Evaluation(totals, rates.read(images), counts.read(), rates.read_saturations(images))
    return Predictions(np.concatenate(classes), evaluation)
