"""What a run says about itself: firing rates, and the lines of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy import reductions
from ttfs_cupy.device import Array
from ttfs_cupy.errors import UserError
from ttfs_cupy.files import write_atomically
from ttfs_cupy.layers import Layer
from ttfs_cupy.network import Network


class FiringRates:
    """The share of a layer's neurons that fired, since the last reset; counted on the device, without atomics."""

    def __init__(self, network: Network):
        self._device = network.device
        self._layers = [layer for layer in network.layers if layer.is_spiking]
        self._counts = {layer.name: network.device.xp.zeros(reductions.PARTS, np.int64) for layer in self._layers}

    def reset(self) -> None:
        for counts in self._counts.values():
            counts[...] = 0

    def watch(self, layer: Layer, output: Array) -> None:
        """Counts the spikes of a layer's output, (batch, height, width, channels): a watcher of Network.run."""
        if layer.is_spiking:
            reductions.count_spikes(self._device, output, self._counts[layer.name])

    def read(self, images: int) -> dict[str, float]:
        """The rates by layer, over so many images; waits for the device."""
        return {
            layer.name: int(self._device.to_host(self._counts[layer.name]).sum()) / max(1, images * layer.neurons)
            for layer in self._layers
        }


class MetricsFile:
    """metrics.jsonl: a line an epoch, then one with the test set's; the file is whole at any time."""

    def __init__(self, path: Path, lines: list[dict[str, Any]] | None = None):
        self.path = path
        self.lines = list(lines or [])

    def add(self, **values: Any) -> None:
        self.lines.append(values)
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode())

    @classmethod
    def of_epochs(cls, path: Path, epochs: int) -> "MetricsFile":
        """The file as it was after so many epochs, for a run that goes on from there."""
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        except FileNotFoundError:
            lines = []
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        return cls(path, [line for line in lines if line.get("epoch", epochs + 1) <= epochs])
