"""Synaptic operations, counted exactly: each spike once for each connection that leads on from its place."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.prediction import predict

INPUT = "input"


@dataclass(frozen=True)
class LayerOperations:
    """A layer's work, over all images that were counted; neurons and connections are those of one image.

    spikes: how many its neurons fired; of pooling, how many it let through. None where there are none: pixels of a
    direct code, and a readout of potentials. connections: of its neurons with those below, without those that a border
    cuts off; 0 without weights. input_spikes, synaptic_operations: the spikes that it reads, and the sum over these of
    the connections that each one has. multiply_adds: products with inputs that are no spikes. has_weight_sum: whether
    its neurons need S beside A (docs/model.md), so psp_slope is above 0.
    """

    name: str
    neurons: int
    spikes: int | None
    connections: int = 0
    input_spikes: int = 0
    synaptic_operations: int = 0
    multiply_adds: int = 0
    has_weight_sum: bool = False

    @property
    def has_weights(self) -> bool:
        return self.connections > 0

    @property
    def reads_spikes(self) -> bool:
        """With weights, and no pixels of a direct code before them."""
        return self.has_weights and not self.multiply_adds

    def spikes_of(self, images: int) -> float:
        """Of an image, on average; 0 without spikes."""
        return (self.spikes or 0) / images


@dataclass(frozen=True)
class Operations:
    """The work of a network on so many images. layers: the input, then every layer, in order. accuracy: the share of
    images that were predicted right."""

    images: int
    psp_slope: float
    accuracy: float
    layers: tuple[LayerOperations, ...]

    @property
    def weighted(self) -> list[LayerOperations]:
        """The layers with weights: where all work is."""
        return [layer for layer in self.layers if layer.has_weights]

    @property
    def synaptic_operations(self) -> float:
        """Of an image, all layers."""
        return sum(layer.synaptic_operations for layer in self.layers) / self.images

    @property
    def ann_multiply_adds(self) -> int:
        """Of an image, by an ANN of the same shape that skips nothing: one for each connection."""
        return sum(layer.connections for layer in self.layers)

    def firing_rate(self, layer: LayerOperations) -> float | None:
        """Spikes for each neuron and image; None without spikes."""
        return None if layer.spikes is None else layer.spikes / (layer.neurons * self.images)


def share_of_ann(layers: Iterable[LayerOperations], images: int) -> float | None:
    """What these layers add for spikes, and multiply and add for pixels, beside the multiply-adds of an ANN; None where
    there are no connections. images: over how many it was counted."""
    counted = list(layers)
    connections = sum(layer.connections for layer in counted)
    done = sum(layer.synaptic_operations + layer.multiply_adds for layer in counted)
    return done / images / connections if connections else None


def count_operations(network: Network, batches: Batches) -> Operations:
    """The operations that the network needs for these images, counted on its device in one pass, in whole numbers.

    batches: a set that is not shuffled, such as an experiment's `test`; into what batches it is cut does not matter.
    Raises TypeError or ValueError for images that do not suit the network.
    """
    counter = OperationCounter(network)
    totals = predict(network, batches, watch=counter.watch).evaluation.totals
    return Operations(totals.images, network.psp_slope, totals.accuracy, counter.read(totals.images))


class OperationCounter:
    """Counts the spikes at each place of each layer, on the device: a watcher of Network.run and `predict`."""

    def __init__(self, network: Network):
        self._network = network
        first = network.layers[0]
        places = {layer.name: layer.out_shape[:2] for layer in network.layers if _passes_spikes(layer)}
        if network.encoder.is_spike_code:
            places[INPUT] = first.in_shape[:2]
        with network.device.current():
            self._counts = {name: network.device.xp.zeros(shape, np.int64) for name, shape in places.items()}

    def watch(self, layer: Layer, output: Array) -> None:
        """Counts what a layer puts out, (batch, height, width, channels)."""
        if layer is self._network.layers[0]:
            self._add(INPUT, self._network.last_inputs)
        self._add(layer.name, output)

    def _add(self, name: str, values: Array) -> None:
        if name in self._counts:
            self._counts[name] += (values != 0).sum(axis=(0, 3), dtype=np.int64)

    def read(self, images: int) -> tuple[LayerOperations, ...]:
        """The input and every layer, over the images that were watched, so many; waits for the device."""
        counts = {name: self._network.device.to_host(count) for name, count in self._counts.items()}
        layers = self._network.layers
        spikes = {name: int(count.sum()) for name, count in counts.items()}
        below = {above.name: layer.name for layer, above in pairwise(layers)} | {layers[0].name: INPUT}
        found = [LayerOperations(INPUT, int(np.prod(layers[0].in_shape)), spikes.get(INPUT))]
        for layer in layers:
            own = LayerOperations(layer.name, layer.neurons, spikes.get(layer.name))
            if isinstance(layer, Weighted):
                own = _with_synapses(own, layer, counts.get(below[layer.name]), images)
            found.append(own)
        return tuple(found)


def _passes_spikes(layer: Layer) -> bool:
    return layer.is_spiking or isinstance(layer, MaxPool)


def _with_synapses(own: LayerOperations, layer: Weighted, below: np.ndarray | None, images: int) -> LayerOperations:
    """below: the spikes at each place below, int64 (height, width); None where they are none but real numbers."""
    each = fan_out(layer.shape)
    connections = int(each.sum()) * layer.shape.in_channels
    has_sum = layer.neuron.needs_weight_sum
    if below is None:
        products = connections * images
        return LayerOperations(own.name, own.neurons, own.spikes, connections, multiply_adds=products)
    operations = int((below * each).sum())
    return LayerOperations(
        own.name, own.neurons, own.spikes, connections, int(below.sum()), operations, has_weight_sum=has_sum
    )


def fan_out(shape: ConvolutionShape) -> np.ndarray:
    """Connections of a neuron below at each place, int64 (height, width): fewer at borders, where kernels stick out."""
    rows, columns = (
        _reached(*axis)
        for axis in zip(shape.in_size, shape.out_size, shape.kernel, shape.stride, shape.padding, strict=True)
    )
    return np.outer(rows, columns) * shape.out_channels


def _reached(size: int, outputs: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Along one axis: how many outputs' kernels lie over each input."""
    counts = np.zeros(size, np.int64)
    for output in range(outputs):
        first = output * stride - padding
        counts[max(first, 0) : max(first + kernel, 0)] += 1
    return counts
