"""What each of a network's layers puts out, for other programs to be compared with."""

from collections.abc import Iterable

import numpy as np

from ttfs_cupy.device import Array
from ttfs_cupy.engine.network import Network

# The input code, among the layers' names.
CODE = ""


def layer_values(network: Network, batches: Iterable[Array]) -> dict[str, np.ndarray]:
    """The input code and every layer's output, float32 (N, height, width, channels), by the layer's name.

    batches: of inputs as Network.run takes them, N together.
    """
    found: dict[str, list[np.ndarray]] = {}

    def keep(name: str, output: Array) -> None:
        found.setdefault(name, []).append(network.device.to_host(output).copy())

    with network.turns.take():
        for inputs in batches:
            keep(CODE, inputs)
            network.run(inputs, watch=lambda layer, output: keep(layer.name, output))
        network.validity.raise_if_marked()
    return {name: np.concatenate(parts) for name, parts in found.items()}
