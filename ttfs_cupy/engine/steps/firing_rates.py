"""The share of neurons that fired, and of those that did as their window opened."""

import numpy as np

from ttfs_cupy.device import Array, reductions
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.ranks.group import ALONE, Group


class FiringRates:
    """The share of a layer's neurons that fired, since the last reset; counted on the device, without atomics."""

    def __init__(self, network: Network):
        self._device = network.device
        self._t_win = network.t_win
        self._layers = [layer for layer in network.layers if layer.is_spiking]
        shape = (reductions.PARTS, 2)
        with network.device.current():
            self._counts = {layer.name: network.device.xp.zeros(shape, np.int64) for layer in self._layers}

    def reset(self) -> None:
        for counts in self._counts.values():
            counts[...] = 0

    def watch(self, layer: Layer, output: Array) -> None:
        """Counts the spikes of a layer's output, (batch, height, width, channels): a watcher of Network.run."""
        if layer.is_spiking:
            reductions.count_spikes(self._device, output, self._t_win, self._counts[layer.name])

    def read(self, images: int, group: Group = ALONE) -> dict[str, float]:
        """The rates by layer, over so many images of all ranks of a group; waits for the device."""
        return self._shares(0, images, group)

    def read_saturations(self, images: int, group: Group = ALONE) -> dict[str, float]:
        """Likewise the share of neurons that fired as the window opened, at x = T, where no gradient passes."""
        return self._shares(1, images, group)

    def _shares(self, column: int, images: int, group: Group) -> dict[str, float]:
        own = [self._device.to_host(self._counts[layer.name])[:, column].sum() for layer in self._layers]
        counts = group.sum(np.array(own, np.int64)).tolist()
        return {
            layer.name: count / max(1, images * layer.neurons)
            for layer, count in zip(self._layers, counts, strict=True)
        }
