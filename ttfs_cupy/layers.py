"""Layers: forward in earliness, event-driven backward, over buffers that the network's plan hands them.

Shapes inside the engine are NHWC without the batch: (height, width, channels); a layer of plain neurons is (1, 1, n).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.convolution.shape import Algorithm, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import Neuron

Shape = tuple[int, int, int]


@dataclass
class Buffers:
    """What the plan gives a layer for a batch; the leading axis is the largest batch."""

    output: Array
    weight_sum: Array | None = None
    winner: Array | None = None


class Layer(ABC):
    """A layer between planned buffers. `output` after a forward is (batch, height, width, channels)."""

    has_weights = False
    is_spiking = False

    def __init__(self, name: str, device: Device, in_shape: Shape, out_shape: Shape):
        self.name = name
        self.device = device
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.buffers: Buffers | None = None
        self._batch = 0

    @abstractmethod
    def allocate(self, batch: int, empty: Callable[[tuple[int, ...], type], Array], training: bool) -> None:
        """Takes this layer's buffers for up to that many images; empty(shape, dtype) makes them."""

    @abstractmethod
    def forward(self, inputs: Array, workspace: Array, training: bool) -> Array:
        """The output for inputs (batch, *in_shape); with training, what backward needs is kept."""

    @abstractmethod
    def backward(self, inputs: Array, grad: Array, grad_inputs: Array | None, workspace: Array) -> None:
        """From grad = dLoss/d(output): the weights' gradient, and dLoss/d(inputs) unless grad_inputs is None."""

    def workspace(self, batch: int, training: bool) -> int:
        """float32 values of scratch memory that the passes need."""
        return 0

    @property
    def neurons(self) -> int:
        return int(np.prod(self.out_shape))

    @property
    def planned(self) -> Buffers:
        assert self.buffers is not None, f"{self.name} has no buffers: Network.plan comes first"
        return self.buffers

    @property
    def output_of_batch(self) -> Array:
        """Of the last forward: (batch, height, width, channels)."""
        return self.planned.output[: self._batch]

    @property
    def output(self) -> Array:
        """Of the last forward: (batch, height, width, channels), or (batch, n) for a layer of plain neurons."""
        return self.output_of_batch


class Weighted(Layer):
    """A convolution and the neurons that it drives; also, with a kernel that covers its input, a full connection."""

    has_weights = True

    def __init__(
        self,
        name: str,
        device: Device,
        shape: ConvolutionShape,
        neuron: Neuron,
        algorithm: Algorithm,
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
        self.algorithm = algorithm
        # Views into the network's one array of parameters and one of gradients, (kernel_h, kernel_w, in, out).
        self.weights: Array = None
        self.grad_weights: Array = None

    @property
    def output(self) -> Array:
        """Of the last forward: (batch, height, width, channels), or (batch, n) for a full connection."""
        return self.output_of_batch.reshape(self._batch, -1) if self.flat else self.output_of_batch

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

    @property
    def weight_sum(self) -> Array | None:
        """S of the last training forward, shaped like output; None where psp_slope is 0."""
        if self.planned.weight_sum is None or not self.neuron.needs_weight_sum:
            return None
        return self.planned.weight_sum[: self._batch].reshape(self.output.shape)

    def workspace(self, batch: int, training: bool) -> int:
        return self.algorithm.workspace(batch, training)

    def allocate(self, batch: int, empty: Callable[[tuple[int, ...], type], Array], training: bool) -> None:
        output = empty((batch, *self.out_shape), np.float32)
        # a readout's gradient does not depend on S
        weight_sum = empty((batch, *self.out_shape), np.float32) if training and self.is_spiking else None
        self.buffers = Buffers(output, weight_sum)

    def forward(self, inputs: Array, workspace: Array, training: bool) -> Array:
        self._batch = inputs.shape[0]
        output = self.output_of_batch
        sums = self._rows(self.planned.weight_sum) if training and self.neuron.needs_weight_sum else None
        self.algorithm.forward(inputs, self.weights, self.neuron, self._rows(output), sums, workspace)
        return output

    def backward(self, inputs: Array, grad: Array, grad_inputs: Array | None, workspace: Array) -> None:
        sums = self._rows(self.planned.weight_sum) if self.neuron.needs_weight_sum else None
        outgoing = OutgoingGradient(self.neuron, self._rows(grad), self._rows(self.planned.output), sums)
        self.algorithm.weight_gradient(inputs, outgoing, self.grad_weights, workspace)
        if grad_inputs is not None:
            self.algorithm.data_gradient(outgoing, self.weights, grad_inputs, workspace)

    def _rows(self, array: Array) -> Array:
        return None if array is None else array[: self._batch].reshape(-1, self.shape.out_channels)


class MaxPool(Layer):
    """The earliest spike of each window; the gradient goes to the winner (SPEC, "Max pooling")."""

    SILENT = 255

    def __init__(self, name: str, device: Device, in_shape: Shape, kernel: tuple[int, int], stride: tuple[int, int]):
        height, width = ((size - k) // s + 1 for size, k, s in zip(in_shape, kernel, stride, strict=False))
        super().__init__(name, device, in_shape, (height, width, in_shape[2]))
        self.kernel = kernel
        self.stride = stride

    def allocate(self, batch: int, empty: Callable[[tuple[int, ...], type], Array], training: bool) -> None:
        shape = (batch, *self.out_shape)
        self.buffers = Buffers(empty(shape, np.float32), winner=empty(shape, np.uint8))

    def forward(self, inputs: Array, workspace: Array, training: bool) -> Array:
        self._batch = inputs.shape[0]
        output = self.output_of_batch
        pixels = self._batch * self.out_shape[0] * self.out_shape[1]
        self.device.launch(
            "earliest_spike",
            output.size,
            *(inputs, output, self._winner, pixels, self.out_shape[2]),
            *self._sizes,
        )
        return output

    def backward(self, inputs: Array, grad: Array, grad_inputs: Array | None, workspace: Array) -> None:
        if grad_inputs is None:
            return
        pixels = self._batch * self.in_shape[0] * self.in_shape[1]
        self.device.launch(
            "earliest_spike_gradient",
            grad_inputs.size,
            *(grad, self._winner, grad_inputs, pixels, self.out_shape[2]),
            *self._sizes,
        )

    @property
    def _winner(self) -> Array:
        winner = self.planned.winner
        assert winner is not None
        return winner[: self._batch]

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (*self.in_shape[:2], *self.out_shape[:2], *self.kernel, *self.stride)
