"""The shape of a convolution, and what its passes are given."""

from dataclasses import dataclass

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

    def reach(self, batch_size: int) -> int:
        """More than any index of a kernel of its passes, with so many images.

        Of inputs, of neurons (all of them, also where pooling is joined and arrays hold a quarter), and of the lines
        that a kernel slides over, whose padding no array has.
        """
        lines = max(self.in_size[0], self.out_size[0] * self.stride[0]) + 2 * self.kernel[0]
        return batch_size * max(self.in_pixels * self.in_channels, self.out_pixels * self.out_channels, lines)

    def flattened(self) -> "ConvolutionShape":
        """The same products where the kernel covers its input: over one pixel that has all pixels' channels."""
        if self.kernel != self.in_size or self.padding != (0, 0):
            return self
        return ConvolutionShape((1, 1), self.patch_size, self.out_channels, (1, 1))


@dataclass(frozen=True)
class Activations:
    """What a layer leaves for the next one and for its own backward pass: arrays (batch, height, width, channels).

    output: earliness; of a readout, membrane potentials. weight_sum: S, where backward needs it. winner: where pooling
    is joined to the layer, the place of each 2x2 window's earliest spike (0 to 3, row by row, 255 if all are silent);
    output and weight_sum are then those of the windows' earliest spikes.
    """

    output: Array
    weight_sum: Array | None = None
    winner: Array | None = None

    def of(self, batch_size: int, *, with_weight_sum: bool) -> "Activations":
        """The front of the arrays, for a smaller batch; without the weight sum where nobody needs it."""
        return Activations(
            self.output[:batch_size],
            self.weight_sum[:batch_size] if with_weight_sum and self.weight_sum is not None else None,
            None if self.winner is None else self.winner[:batch_size],
        )


def rows(array: Array) -> Array:
    """(rows, channels), a row being one pixel of one image."""
    return array.reshape(-1, array.shape[-1])


@dataclass(frozen=True)
class OutgoingGradient:
    """grad = dLoss/d(output), with what a layer's neurons need to carry it on to their drive and weight sum."""

    neuron: Neuron
    grad: Array
    out: Activations

    @property
    def rows(self) -> int:
        return int(self.grad.size // self.grad.shape[-1])

    def to_drive(
        self, grad_drive: Array, grad_sum: Array | None = None, first: int = 0, last: int | None = None
    ) -> None:
        """Writes dLoss/dA, and dLoss/dS unless grad_sum is None, of the rows first to last (exclusive)."""
        grad, output, weight_sum = self.grad, self.out.output, self.out.weight_sum
        part = slice(first, last)
        sums = None if weight_sum is None else rows(weight_sum)[part]
        self.neuron.gradient(rows(grad)[part], rows(output)[part], sums, grad_drive, grad_sum)
