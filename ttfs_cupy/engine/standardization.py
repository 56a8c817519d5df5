"""Standardised weights: what is trained is raw weights v and gains g; the layers' weights follow from them
(docs/model.md, "Standardised weights")."""

import numpy as np

from ttfs_cupy.device import Array, Device
from ttfs_cupy.device import standardization as kernels
from ttfs_cupy.device.parts import parts
from ttfs_cupy.engine.layers import Weighted

# Below this the raw weights of a neuron count as all the same (kernels/strips.h).
SMALLEST_SQUARES = 1e-4

NORMALIZATIONS = ("none", "weight")


class Standardization:
    """The raw weights and gains of a network's spiking layers, and their gradients; the readout is trained as it is.

    trained, trained_gradients: float32; raw weights where Parameters.values has a layer's weights, what it has after
    the weights as it is, then the gains. weights, size: how many of its values are weights, and all.
    """

    def __init__(self, device: Device, layers: list[Weighted], firsts: list[int], weights: int, size: int):
        self._device = device
        matrices, self.gains = [], {}
        count = 0
        for layer, first in zip(layers, firsts, strict=True):
            neurons = layer.shape.out_channels
            own = layer.is_spiking and layer is not layers[-1]
            matrices.append(kernels.WeightMatrix(first, layer.shape.patch_size, neurons, count if own else None))
            if own:
                self.gains[layer.name] = slice(size + count, size + count + neurons)
                count += neurons
        if size > weights:
            matrices.append(kernels.WeightMatrix(weights, 1, size - weights, None))
        self._gains_at = size
        self._strips = device.to_device(kernels.strips(matrices, kernels.columns_of(device)))
        whole = size + aligned(count)
        self.trained = device.xp.zeros(whole, np.float32)
        self.trained_gradients = device.xp.zeros(whole, np.float32)
        self._statistics = device.xp.zeros(2 * count, np.float32)

    def to_weights(self, weights: Array, update: Array | None = None) -> None:
        """Writes the weights that follow from what is trained, unless `update` says that a step was skipped."""
        arguments = (self.trained, update, self._statistics, weights, self._gains_at)
        kernels.standardize(self._device, self._strips, *arguments)

    def from_gradients(self, gradients: Array) -> None:
        """Writes trained_gradients from dLoss/d(weights)."""
        arguments = (self.trained, self._statistics, gradients, self.trained_gradients, self._gains_at)
        kernels.gradients(self._device, self._strips, *arguments)


def aligned(floats: int) -> int:
    """The next multiple of 16 bytes, in floats, where a GPU's copies may begin."""
    return parts(floats, 4) * 4


def gains_of(raw: np.ndarray) -> np.ndarray:
    """Gains, (out,), with which raw weights (out, ...) become themselves but for their mean."""
    rows = raw.reshape(len(raw), -1).astype(np.float64)
    squares = ((rows - rows.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.sqrt(squares + SMALLEST_SQUARES).astype(np.float32)
