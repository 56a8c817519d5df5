"""The model in NumPy float64, in earliness: x = T - t, and x = 0 is silence. Arrays are NCHW, or (N, features).

A spiking neuron i over inputs j, with m_j = 1 where x_j != 0 and slope L:

    S_i = sum_j w_ij m_j      A_i = sum_j w_ij x_j      D_i = 1 + L S_i
    A_i >= T                         x_i = T
    D_i > 0 and A_i + L T S_i > 0    x_i = (A_i + L T S_i) / D_i
    otherwise                        x_i = 0

    dx_i/dA_i = 1 / D_i       dx_i/dS_i = L (T - x_i) / D_i       where 0 < x_i < T, else 0

With an initial potential b_i, A_i is larger by T b_i.

Every layer stands alone, forward and backward, so that a test can hand each one the same input as the engine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reference.specification import LayerSpec, Pair, Weights

Array = np.ndarray


# Linear maps: what w does, to x for the drive A and to the mask for the weight sum S


class LinearMap(Protocol):
    def __call__(self, inputs: Array) -> Array: ...

    def input_gradient(self, grad: Array, inputs: Array) -> Array:
        """dLoss/d(inputs) from grad = dLoss/d(result); of inputs only the shape matters."""

    def weight_gradient(self, grad: Array, inputs: Array) -> Array: ...

    def reached(self, inputs: Array) -> Array:
        """Which results have an input that fired; the same for all their channels."""


@dataclass(frozen=True)
class Convolution:
    """A cross-correlation; weight is (out, in, kernel_h, kernel_w)."""

    weight: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def __call__(self, inputs: Array) -> Array:
        result = np.tensordot(self._patches(inputs), self.weight, axes=([1, 4, 5], [1, 2, 3]))
        return result.transpose(0, 3, 1, 2)

    def input_gradient(self, grad: Array, inputs: Array) -> Array:
        # (N, out_h, out_w, in, kernel_h, kernel_w): what each result sends back through each tap of its patch
        sent = np.tensordot(grad, self.weight, axes=([1], [0]))
        result = np.zeros_like(self._padded(inputs))
        (rows, columns), (down, right) = grad.shape[2:], self.stride
        for y, x in np.ndindex(*self.weight.shape[2:]):
            target = result[:, :, y : y + down * rows : down, x : x + right * columns : right]
            target += sent[..., y, x].transpose(0, 3, 1, 2)
        (top, left), (height, width) = self.padding, inputs.shape[2:]
        return result[:, :, top : top + height, left : left + width]

    def weight_gradient(self, grad: Array, inputs: Array) -> Array:
        return np.tensordot(grad, self._patches(inputs), axes=([0, 2, 3], [0, 2, 3]))

    def reached(self, inputs: Array) -> Array:
        fired = (inputs != 0).any(axis=1, keepdims=True)
        return np.any(self._patches(fired), axis=(4, 5))

    def _padded(self, inputs: Array) -> Array:
        top, left = self.padding
        return np.pad(inputs, ((0, 0), (0, 0), (top, top), (left, left)))

    def _patches(self, inputs: Array) -> Array:
        """A view (N, in, out_h, out_w, kernel_h, kernel_w)."""
        windows = sliding_window_view(self._padded(inputs), self.weight.shape[2:], axis=(2, 3))
        return windows[:, :, :: self.stride[0], :: self.stride[1]]


@dataclass(frozen=True)
class FullConnection:
    """weight is (out, in), with the inputs in the order (C, H, W)."""

    weight: Array

    def __call__(self, inputs: Array) -> Array:
        return _flat(inputs) @ self.weight.T

    def input_gradient(self, grad: Array, inputs: Array) -> Array:
        return (grad @ self.weight).reshape(inputs.shape)

    def weight_gradient(self, grad: Array, inputs: Array) -> Array:
        return grad.T @ _flat(inputs)

    def reached(self, inputs: Array) -> Array:
        return (_flat(inputs) != 0).any(axis=1, keepdims=True)


# Neurons: from (A, S) to an output, and back


class Neuron(Protocol):
    @property
    def t_win(self) -> float: ...
    @property
    def psp_slope(self) -> float: ...
    @property
    def scale(self) -> float:
        """Of the drive."""

    def output(self, drive: Array, weight_sum: Array) -> Array: ...

    def gradient(self, grad: Array, output: Array, weight_sum: Array) -> tuple[Array, Array]:
        """(dLoss/dA, dLoss/dS) from grad = dLoss/d(output)."""


@dataclass(frozen=True)
class SpikingNeuron:
    t_win: float = 1.0
    psp_slope: float = 1.0
    clip: str = "gain"
    grad_clip: float = 1.0
    scale = 1.0

    def output(self, drive: Array, weight_sum: Array) -> Array:
        growth = 1 + self.psp_slope * weight_sum
        at_end = drive + self.psp_slope * self.t_win * weight_sum
        earliness = np.zeros_like(drive)
        np.divide(at_end, growth, out=earliness, where=(growth > 0) & (at_end > 0))
        return np.where(drive >= self.t_win, self.t_win, np.minimum(earliness, self.t_win))

    def gradient(self, grad: Array, output: Array, weight_sum: Array) -> tuple[Array, Array]:
        inside = (output > 0) & (output < self.t_win)
        outgoing = np.where(inside, grad, 0)
        gain = 1 / np.where(inside, 1 + self.psp_slope * weight_sum, 1)
        if self.clip == "separate":
            return self._clipped_separately(outgoing, output, gain)
        if self.clip == "gain":
            gain = np.minimum(gain, self.grad_clip)
        return outgoing * gain, outgoing * self.psp_slope * (self.t_win - output) * gain

    def _clipped_separately(self, outgoing: Array, output: Array, gain: Array) -> tuple[Array, Array]:
        """T2FSNN's: the derivatives of the spike time by I and S are clipped one by one, then read in earliness."""
        assert self.psp_slope == 1, "clip 'separate' is defined for psp_slope 1 only"
        by_current = np.clip(gain, -self.grad_clip, self.grad_clip)
        by_sum = np.clip(-(2 * self.t_win - output) * gain, -self.grad_clip, self.grad_clip)
        return outgoing * by_current, -outgoing * (self.t_win * by_current + by_sum)


@dataclass(frozen=True)
class CodingNeuron:
    """The first layer of direct encoding: x = clip(T A, 0, T) on real-valued pixels; it has no use for S."""

    t_win: float = 1.0
    psp_slope: float = 0.0

    @property
    def scale(self) -> float:
        return self.t_win

    def output(self, drive: Array, weight_sum: Array) -> Array:
        return np.clip(self.t_win * drive, 0, self.t_win)

    def gradient(self, grad: Array, output: Array, weight_sum: Array) -> tuple[Array, Array]:
        inside = (output > 0) & (output < self.t_win)
        return np.where(inside, self.t_win * grad, 0), np.zeros_like(grad)


@dataclass(frozen=True)
class PotentialReadout:
    """Does not fire: its output is its membrane potential at the end of its window, A + L T S."""

    t_win: float = 1.0
    psp_slope: float = 1.0
    scale = 1.0

    def output(self, drive: Array, weight_sum: Array) -> Array:
        return drive + self.psp_slope * self.t_win * weight_sum

    def gradient(self, grad: Array, output: Array, weight_sum: Array) -> tuple[Array, Array]:
        return grad, self.psp_slope * self.t_win * grad


# Layers


class Response(NamedTuple):
    """What a layer answers to its inputs; pooling has neither drive nor weight sum."""

    output: Array
    drive: Array | None = None
    weight_sum: Array | None = None


class Gradients(NamedTuple):
    inputs: Array
    weight: Array | None = None
    potential: Array | None = None


class Layer(Protocol):
    @property
    def name(self) -> str: ...

    def forward(self, inputs: Array) -> Response: ...

    def backward(self, inputs: Array, response: Response, grad: Array) -> Gradients:
        """From grad = dLoss/d(output), at the output and weight sum of response."""


@dataclass(frozen=True)
class WeightedLayer:
    """A linear map and the neurons that it drives; potential: their initial one, (out,)."""

    name: str
    map: LinearMap
    neuron: Neuron
    potential: Array | None = None

    def forward(self, inputs: Array) -> Response:
        drive, weight_sum = self.map(inputs), self.map(_mask(inputs))
        if self.potential is not None:
            drive = drive + self._per_potential * self.potential.reshape(-1, *[1] * (drive.ndim - 2))
        return Response(self.neuron.output(drive, weight_sum), drive, weight_sum)

    def backward(self, inputs: Array, response: Response, grad: Array) -> Gradients:
        assert response.weight_sum is not None
        by_drive, by_sum = self.neuron.gradient(grad, response.output, response.weight_sum)
        weight = self.map.weight_gradient(by_drive, inputs) + self.map.weight_gradient(by_sum, _mask(inputs))
        axes = tuple(axis for axis in range(by_drive.ndim) if axis != 1)
        potential = None if self.potential is None else self._per_potential * by_drive.sum(axis=axes)
        return Gradients(self.map.input_gradient(by_drive, inputs) * _mask(inputs), weight, potential)

    @property
    def _per_potential(self) -> float:
        """Of the drive, before it is scaled."""
        return self.neuron.t_win / self.neuron.scale


@dataclass(frozen=True)
class MaxPool:
    """The earliest spike of a window wins, the first in row-major order on a tie, and takes the gradient."""

    name: str
    kernel: Pair
    stride: Pair

    def forward(self, inputs: Array) -> Response:
        return Response(self._windows(inputs).max(axis=-1))

    def backward(self, inputs: Array, response: Response, grad: Array) -> Gradients:
        winner = self._windows(inputs).argmax(axis=-1)
        grad = grad.reshape(winner.shape)
        result = np.zeros_like(inputs)
        (rows, columns), (down, right) = winner.shape[2:], self.stride
        for position, (y, x) in enumerate(np.ndindex(*self.kernel)):
            target = result[:, :, y : y + down * rows : down, x : x + right * columns : right]
            target += np.where(winner == position, grad, 0)
        return Gradients(result * _mask(inputs))

    def _windows(self, inputs: Array) -> Array:
        """(N, C, out_h, out_w, positions), the positions of a window row by row."""
        windows = sliding_window_view(inputs, self.kernel, axis=(2, 3))[:, :, :: self.stride[0], :: self.stride[1]]
        return windows.reshape(*windows.shape[:4], -1)


# The network


def encode(images: Array, t_win: float) -> Array:
    """Latency coding of pixels in [0, 1]: the brighter, the earlier; black is silent."""
    return t_win * np.asarray(images, np.float64)


def logits_of(output: Array, silent: str) -> Array:
    """What the softmax is of; of an excluded silent class the probability is below float32's smallest."""
    return np.where(output == 0, -104.0, output) if silent == "excluded" else output


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean loss of the batch, and its gradient by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    grad = np.exp(log_share)
    grad[rows, labels] -= 1
    return float(-log_share[rows, labels].mean()), grad / len(labels)


@dataclass(frozen=True)
class Network:
    layers: Sequence[Layer]
    silent: str = "latest"

    def forward(self, encoded: Array) -> list[Response]:
        responses = []
        inputs = np.asarray(encoded, np.float64)
        for layer in self.layers:
            responses.append(layer.forward(inputs))
            inputs = responses[-1].output
        return responses

    def backward(self, encoded: Array, responses: Sequence[Response], labels: Array) -> tuple[float, dict[str, Array]]:
        """The loss and every weight's gradient, at the outputs and weight sums in responses."""
        inputs = [np.asarray(encoded, np.float64), *(response.output for response in responses[:-1])]
        loss, grad = softmax_cross_entropy(logits_of(responses[-1].output, self.silent), labels)
        gradients = {}
        for layer, layer_inputs, response in reversed(list(zip(self.layers, inputs, responses, strict=True))):
            grad, weight, potential = layer.backward(layer_inputs, response, grad.reshape(response.output.shape))
            if potential is not None:
                gradients[f"{layer.name}.potential"] = potential
            if weight is not None:
                gradients[f"{layer.name}.weight"] = weight
        return loss, dict(reversed(gradients.items()))

    def loss_and_gradients(self, encoded: Array, labels: Array) -> tuple[float, dict[str, Array]]:
        return self.backward(encoded, self.forward(encoded), labels)


def build(
    layers: Sequence[LayerSpec],
    weights: Weights,
    *,
    t_win: float = 1.0,
    psp_slope: float = 1.0,
    clip: str = "gain",
    grad_clip: float = 1.0,
    readout: str = "potential",
    silent: str = "latest",
    encoding: str = "latency",
) -> Network:
    """A reference network with the same arguments as the engine's models.build; initial potentials are in weights."""
    spiking = SpikingNeuron(t_win, psp_slope, clip, grad_clip)

    def neuron(index: int) -> Neuron:
        if layers[index].kind == "readout" and readout == "potential":
            return PotentialReadout(t_win, psp_slope)
        return CodingNeuron(t_win) if index == 0 and encoding == "direct" else spiking

    def layer(index: int) -> Layer:
        spec = layers[index]
        if spec.kind == "pool":
            return MaxPool(spec.name, spec.kernel, spec.stride)
        weight = np.asarray(weights[spec.weight_name], np.float64)
        is_convolution = spec.kind == "convolution"
        linear_map = Convolution(weight, spec.stride, spec.padding) if is_convolution else FullConnection(weight)
        potential = weights.get(f"{spec.name}.potential")
        potential = None if potential is None else np.asarray(potential, np.float64)
        return WeightedLayer(spec.name, linear_map, neuron(index), potential)

    return Network([layer(index) for index in range(len(layers))], silent)


def _mask(earliness: Array) -> Array:
    return (earliness != 0).astype(np.float64)


def _flat(inputs: Array) -> Array:
    return inputs.reshape(len(inputs), -1)
