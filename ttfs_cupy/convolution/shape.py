"""The shape of a convolution, and what an algorithm must offer."""

from dataclasses import dataclass
from typing import Protocol

from ttfs_cupy.device import Array
from ttfs_cupy.neuron import Neuron


@dataclass(frozen=True)
class ConvolutionShape:
    """Everything but the batch size. Pairs are (vertical, horizontal); images are NHWC."""

    in_size: tuple[int, int]
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def out_size(self) -> tuple[int, int]:
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(self.in_size, self.padding, self.kernel, self.stride, strict=True)
        )
        return height, width

    @property
    def in_pixels(self) -> int:
        return self.in_size[0] * self.in_size[1]

    @property
    def out_pixels(self) -> int:
        return self.out_size[0] * self.out_size[1]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def patch_size(self) -> int:
        """Weights into one output neuron."""
        return self.taps * self.in_channels

    @property
    def weights(self) -> int:
        return self.patch_size * self.out_channels

    @property
    def multiplications(self) -> int:
        """Of one such convolution of one image, computed directly."""
        return self.out_pixels * self.weights


@dataclass(frozen=True)
class OutgoingGradient:
    """dLoss/d(output) of a layer with what its neurons need to carry it on to their drive and weight sum.

    grad, output and weight_sum are (rows, out_channels), a row being one output pixel of one image.
    """

    neuron: Neuron
    grad: Array
    output: Array
    weight_sum: Array | None

    @property
    def rows(self) -> int:
        return self.grad.shape[0]

    def to_drive(
        self, grad_drive: Array, grad_sum: Array | None = None, first: int = 0, last: int | None = None
    ) -> None:
        """Writes dLoss/dA, and dLoss/dS unless grad_sum is None, of the rows first to last (exclusive)."""
        part = slice(first, last)
        weight_sum = None if self.weight_sum is None else self.weight_sum[part]
        self.neuron.gradient(self.grad[part], self.output[part], weight_sum, grad_drive, grad_sum)


class Algorithm(Protocol):
    """One way to convolve. Arrays: images NHWC, weights (kernel_h, kernel_w, in, out), float32, C-contiguous."""

    @property
    def name(self) -> str: ...

    def workspace(self, batch: int, training: bool) -> int:
        """How many float32 values of scratch memory the passes need for that batch."""

    def forward(
        self,
        images: Array,
        weights: Array,
        neuron: Neuron,
        output: Array,
        weight_sum: Array | None,
        workspace: Array,
    ) -> None:
        """Writes output, and S unless weight_sum is None, both (rows, out_channels)."""

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """Writes dLoss/d(images), NHWC; what it holds for silent inputs has no meaning (their layer masks it)."""

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Writes dLoss/d(weights)."""
