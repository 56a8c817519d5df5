"""Any algorithm of convolution with its operands rounded first; products are then summed in float32 as it does it.

Rounding happens where tensor cores round: weights and earliness, and the gradients that neurons' derivatives form,
dLoss/dA and dLoss/dS. An algorithm forms these gradients inside its kernels, so it is given them ready-made, as those
of neurons whose derivative is 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttfs_cupy.benchmarks.precision.rounding import FLOAT32, FORMATS, WEIGHT_UNIT, Format, earliness_unit
from ttfs_cupy.convolution.algorithm import Algorithm
from ttfs_cupy.convolution.choice import LayerAlgorithms
from ttfs_cupy.convolution.shape import Activations, OutgoingGradient, rows
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.neuron import Neuron, PspSlope, SpikingNeuron


class Rounded:
    """An Algorithm on a CPU, given rounded operands; in all else the algorithm itself."""

    def __init__(self, algorithm: Algorithm, numbers: Format, device: Device):
        self._algorithm = algorithm
        self._numbers = numbers
        self._scratch: dict[str, np.ndarray] = {}
        self._transparent = SpikingNeuron(device, 1.0, PspSlope(device, 0.0), clip="none")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        rounded = self._array("images", images.shape)
        self._numbers.round_earliness(images, rounded, earliness_unit(neuron.rule[2]))
        self._algorithm.forward(rounded, self._weights(weights), neuron, out, workspace)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        grad_drive = self._array("grad", outgoing.grad.shape)
        outgoing.to_drive(rows(grad_drive))
        self._numbers.round(grad_drive, grad_drive)
        given = self._given(grad_drive, outgoing.out.winner)
        self._algorithm.data_gradient(given, self._weights(weights), grad_images, workspace)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """With a mask, of twice the images: earliness beside dLoss/dA, and then the mask beside dLoss/dS."""
        batch_size, masked = len(images), outgoing.neuron.needs_weight_sum
        halves = 2 if masked else 1
        inputs = self._array("images", (halves * batch_size, *images.shape[1:]))
        grads = self._array("grad", (halves * batch_size, *outgoing.grad.shape[1:]))
        unit = earliness_unit(outgoing.neuron.rule[2])
        self._numbers.round_earliness(images, inputs[:batch_size], unit)
        outgoing.to_drive(rows(grads[:batch_size]), rows(grads[batch_size:]) if masked else None)
        self._numbers.round(grads, grads)
        if masked:
            np.not_equal(images, 0, out=inputs[batch_size:])
        winner = outgoing.out.winner
        if winner is not None and masked:
            winner = np.concatenate([winner, winner])
        workspace = self._array("workspace", (self._algorithm.workspace(len(inputs), "weight_gradient"),))
        self._algorithm.weight_gradient(inputs, self._given(grads, winner), grad_weights, workspace)

    def _weights(self, weights: Array) -> Array:
        rounded = self._array("weights", weights.shape)
        self._numbers.round(weights, rounded, WEIGHT_UNIT)
        return rounded

    def _given(self, grad: Array, winner: Array | None) -> OutgoingGradient:
        """dLoss/dA as it is: all neurons fired inside their window, at slope 0."""
        inside = self._array("inside", grad.shape, filled_with=0.5)
        return OutgoingGradient(self._transparent, grad, Activations(inside, None, winner))

    def _array(self, name: str, shape: tuple[int, ...], *, filled_with: float = 0.0) -> np.ndarray:
        """Memory of one's own, kept from call to call."""
        size = int(np.prod(shape))
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.full(size, filled_with, np.float32)
        return self._scratch[name][:size].reshape(shape)


@dataclass(frozen=True, order=True)
class Variant:
    """By which numbers operands are rounded, forward and backward."""

    forward: str
    backward: str

    def __str__(self) -> str:
        return f"{self.forward}/{self.backward}"


class Switch:
    """Has a network compute with rounded operands, or with the algorithms that it came with."""

    def __init__(self, network: Network):
        self._layers = {layer: layer.algorithms for layer in network.layers if isinstance(layer, Weighted)}

    def to(self, variant: Variant) -> None:
        for layer, algorithms in self._layers.items():
            layer.algorithms = _rounded(algorithms, variant, layer.device)


def _rounded(algorithms: LayerAlgorithms, variant: Variant, device: Device) -> LayerAlgorithms:
    """What is not rounded stays as it is."""
    passes: dict[str, Any] = {}
    if variant.forward != FLOAT32:
        passes["forward"] = Rounded(algorithms.forward, FORMATS[variant.forward], device)
    if variant.backward != FLOAT32:
        for which in ("data_gradient", "weight_gradient"):
            passes[which] = Rounded(algorithms.of(which), FORMATS[variant.backward], device)
    return replace(algorithms, **passes)
