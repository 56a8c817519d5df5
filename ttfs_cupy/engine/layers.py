"""Layers: forward in earliness, event-driven backward, over arrays that the network's plan hands them.

Shapes inside the engine are NHWC without the batch: (height, width, channels); a layer of plain neurons is (1, 1, n).
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ttfs_cupy.convolution.choice import LayerAlgorithms
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device, initial_potential
from ttfs_cupy.neuron import Neuron

Shape = tuple[int, int, int]


class Layer(ABC):
    """A layer between planned arrays."""

    has_weights = False
    is_spiking = False

    def __init__(self, name: str, device: Device, in_shape: Shape, out_shape: Shape):
        self.name = name
        self.device = device
        self.in_shape = in_shape
        self.out_shape = out_shape

    @abstractmethod
    def forward(self, inputs: Array, out: Activations, workspace: Array) -> None:
        """Writes `out` for inputs (batch, *in_shape)."""

    @abstractmethod
    def backward(
        self, inputs: Array, grad: Array, out: Activations, grad_inputs: Array | None, workspace: Array
    ) -> None:
        """From grad = dLoss/d(output): the weights' gradient, and dLoss/d(inputs) unless grad_inputs is None."""

    @property
    def neurons(self) -> int:
        return int(np.prod(self.out_shape))

    def reach(self, batch_size: int) -> int:
        """More than any index of a kernel that runs this layer for so many images."""
        return batch_size * int(np.prod(self.in_shape))

    def public(self, output: np.ndarray) -> np.ndarray:
        """An output (batch, height, width, channels) in PyTorch's order, (batch, channels, height, width)."""
        return np.ascontiguousarray(output.transpose(0, 3, 1, 2))


class Weighted(Layer):
    """A convolution and the neurons that it drives; also, with a kernel that covers its input, a full connection."""

    has_weights = True

    def __init__(
        self,
        name: str,
        device: Device,
        shape: ConvolutionShape,
        neuron: Neuron,
        algorithms: LayerAlgorithms,
        *,
        fires: bool,
        flat: bool = False,
    ):
        out_shape = (*shape.out_size, shape.out_channels)
        super().__init__(name, device, (*shape.in_size, shape.in_channels), out_shape)
        self.shape = shape
        self.neuron = neuron
        self.is_spiking = fires
        self.flat = flat
        self.algorithms = algorithms
        # Views into the network's one array of parameters and one of gradients, (kernel_h, kernel_w, in, out).
        self.weights: Array = None
        self.grad_weights: Array = None
        # Likewise, (out,), where neurons have an initial potential.
        self.grad_potential: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the views, which Parameters hands out again."""
        views = {"weights": None, "grad_weights": None, "grad_potential": None}
        return {**self.__dict__, **views, "neuron": self.neuron.with_potential(None)}

    @property
    def potential(self) -> Array | None:
        """What its neurons begin with, (out,), as a share of their threshold; None without."""
        return self.neuron.potential

    def give_potential(self, potential: Array, grad_potential: Array) -> None:
        self.neuron = self.neuron.with_potential(potential)
        self.grad_potential = grad_potential

    def potential_workspace(self, batch_size: int) -> int:
        """float32 values of scratch memory for the initial potentials' gradient."""
        if self.grad_potential is None:
            return 0
        return initial_potential.workspace(self.device, batch_size * self.shape.out_pixels, self.shape.out_channels)

    def reach(self, batch_size: int) -> int:
        return self.shape.reach(batch_size)

    def public(self, output: np.ndarray) -> np.ndarray:
        return output.reshape(len(output), -1) if self.flat else super().public(output)

    @property
    def weights_shape(self) -> tuple[int, int, int, int]:
        return (*self.shape.kernel, self.shape.in_channels, self.shape.out_channels)

    @property
    def public_shape(self) -> tuple[int, ...]:
        """The weights' shape at the public boundary: (out, in, kernel_h, kernel_w), or (out, in)."""
        if self.flat:
            return (self.shape.out_channels, self.shape.patch_size)
        return (self.shape.out_channels, self.shape.in_channels, *self.shape.kernel)

    def to_public(self, weights: np.ndarray) -> np.ndarray:
        """A copy of weights, or gradients, in PyTorch's order; a full connection's inputs count as (C, H, W)."""
        return np.array(weights.transpose(3, 2, 0, 1), order="C").reshape(self.public_shape)

    def from_public(self, weights: np.ndarray) -> np.ndarray:
        outer = weights.reshape(self.shape.out_channels, self.shape.in_channels, *self.shape.kernel)
        return np.ascontiguousarray(outer.transpose(2, 3, 1, 0))

    def forward(self, inputs: Array, out: Activations, workspace: Array) -> None:
        self.algorithms.forward.forward(inputs, self.weights, self.neuron, out, workspace)

    def backward(
        self, inputs: Array, grad: Array, out: Activations, grad_inputs: Array | None, workspace: Array
    ) -> None:
        outgoing = OutgoingGradient(self.neuron, grad, out)
        self.algorithms.weight_gradient.weight_gradient(inputs, outgoing, self.grad_weights, workspace)
        if self.grad_potential is not None:
            spikes = (grad, out.output, out.weight_sum, self.neuron.derivative)
            to = (self.grad_potential, workspace)
            initial_potential.gradient(self.device, *spikes, *to, fires=self.neuron.fires)
        if grad_inputs is not None:
            self.algorithms.data_gradient.data_gradient(outgoing, self.weights, grad_inputs, workspace)


class MaxPool(Layer):
    """The earliest spike of each window; the gradient goes to the winner (docs/model.md, "Max pooling")."""

    def __init__(self, name: str, device: Device, in_shape: Shape, kernel: tuple[int, int], stride: tuple[int, int]):
        height, width = ((size - k) // s + 1 for size, k, s in zip(in_shape, kernel, stride, strict=False))
        super().__init__(name, device, in_shape, (height, width, in_shape[2]))
        self.kernel = kernel
        self.stride = stride

    @property
    def can_be_joined(self) -> bool:
        """Whether the layer below may pool as its neurons fire: 2x2 windows side by side."""
        return self.kernel == (2, 2) == self.stride

    def forward(self, inputs: Array, out: Activations, workspace: Array) -> None:
        pixels = len(inputs) * self.out_shape[0] * self.out_shape[1]
        arguments = (inputs, out.output, out.winner, pixels, self.out_shape[2])
        self.device.launch("earliest_spike", out.output.size, *arguments, *self._sizes)

    def backward(
        self, inputs: Array, grad: Array, out: Activations, grad_inputs: Array | None, workspace: Array
    ) -> None:
        if grad_inputs is None:
            return
        pixels = len(inputs) * self.in_shape[0] * self.in_shape[1]
        arguments = (grad, out.winner, grad_inputs, pixels, self.out_shape[2])
        self.device.launch("earliest_spike_gradient", grad_inputs.size, *arguments, *self._sizes)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (*self.in_shape[:2], *self.out_shape[:2], *self.kernel, *self.stride)
