"""What a run says about itself: firing rates, and the lines of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.errors import UserError
from ttfs_cupy.files import write_atomically
from ttfs_cupy.network import Network


class FiringRates:
    """The share of a layer's neurons that fired, over all images added; counted on the device, without atomics."""

    PARTS = 256

    def __init__(self, network: Network):
        self._network = network
        self._layers = [layer for layer in network.layers if layer.is_spiking]
        self._counts = [network.device.xp.zeros(self.PARTS, np.int64) for _ in self._layers]
        self._images = 0

    def add(self, images: int) -> None:
        """Counts the spikes of the network's last run, of that many images."""
        for layer, counts in zip(self._layers, self._counts, strict=True):
            output = layer.output_of_batch
            self._network.device.launch("count_spikes", output.size, output, counts, self.PARTS, output.size)
        self._images += images

    def read(self) -> dict[str, float]:
        """The rates so far by layer, and starts anew."""
        rates = {}
        for layer, counts in zip(self._layers, self._counts, strict=True):
            spikes = int(self._network.device.to_host(counts).sum())
            rates[layer.name] = spikes / max(1, self._images * layer.neurons)
            counts[...] = 0
        self._images = 0
        return rates


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
