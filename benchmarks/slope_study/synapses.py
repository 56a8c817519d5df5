"""Synaptic operations: each spike counts once for each synapse that it reaches."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.network import Network


@dataclass(frozen=True)
class Operations:
    """Of one image, into one layer. spikes: the mean over a set; dense: if every neuron below spiked."""

    spikes: float
    dense: int


def fan_out(shape: ConvolutionShape) -> np.ndarray:
    """Synapses of a neuron below at each place, int64 (height, width): fewer at borders, which kernels stick out of."""
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


class SynapticOperations:
    """Counts those of every layer that spikes reach: a watcher of Network.run. Of pooled neurons only the earliest
    spike goes on. Pixels of a direct code, and standardised ones, are no spikes: the first layer is left out then."""

    def __init__(self, network: Network):
        self._network = network
        reached = network.layers[0 if network.encoder.is_spike_code else 1 :]
        self._fan_out = {layer: fan_out(layer.shape) for layer in reached if isinstance(layer, Weighted)}
        self._above = dict(pairwise(network.layers))
        self._counts = dict.fromkeys(self._fan_out, 0)

    def watch(self, layer: Layer, output: Array) -> None:
        if layer is self._network.layers[0]:
            self._add(layer, self._network.last_inputs)
        if layer in self._above:
            self._add(self._above[layer], output)

    def _add(self, layer: Layer, inputs: Array) -> None:
        if layer not in self._fan_out:
            return
        spikes = (inputs.reshape(-1, *layer.in_shape) != 0).sum(axis=(0, 3))
        self._counts[layer] += int((self._network.device.to_host(spikes) * self._fan_out[layer]).sum())

    def read(self, images: int) -> dict[str, Operations]:
        """By layer, over so many images."""
        return {
            layer.name: Operations(self._counts[layer] / images, int(places.sum()) * layer.in_shape[2])
            for layer, places in self._fan_out.items()
        }
