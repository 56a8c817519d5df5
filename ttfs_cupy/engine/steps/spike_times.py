"""When neurons fire: a histogram of spike times for each layer."""

import numpy as np

from ttfs_cupy.device import Array, reductions
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.ranks.group import ALONE, Group


class SpikeTimes:
    """How many spikes of a layer fell into each of equal shares of the window, since the last reset; counted on the
    device, without atomics."""

    def __init__(self, network: Network):
        self._device, self._window = network.device, network.t_win
        with network.device.current():
            self._counts = {
                layer.name: reductions.spike_time_counts(network.device) for layer in network.layers if layer.is_spiking
            }

    def reset(self) -> None:
        for counts in self._counts.values():
            counts[...] = 0

    def watch(self, layer: Layer, output: Array) -> None:
        """Counts the spikes of a layer's output, (batch, height, width, channels): a watcher of Network.run."""
        if layer.is_spiking:
            reductions.count_spike_times(self._device, output, self._window, self._counts[layer.name])

    def read(self, group: Group = ALONE) -> dict[str, np.ndarray]:
        """By layer, from time 0 to the window's end, of all ranks of a group: int64 (SPIKE_TIME_BINS,). Waits for the
        device."""
        own = np.array([self._device.to_host(counts.sum(axis=0)) for counts in self._counts.values()], np.int64)
        return dict(zip(self._counts, group.sum(own), strict=True))
