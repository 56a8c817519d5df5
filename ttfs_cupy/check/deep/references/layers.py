"""A layer's passes as plain products in float64, tap by tap, by NumPy or, on the card, by CuPy."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Array


@dataclass(frozen=True)
class Products:
    """Arrays: images NHWC, weights (kernel_h, kernel_w, in, out), float64, of the library xp."""

    xp: ModuleType
    shape: ConvolutionShape

    def forward(self, images: Array, weights: Array) -> Array:
        padded, (height, width) = self._padded(images), self.shape.out_size
        total = self.xp.zeros((len(images) * height * width, weights.shape[-1]))
        for tap, place in self._taps():
            total += _rows(padded[place]) @ weights[tap]
        return total.reshape(len(images), height, width, -1)

    def data_gradient(self, grad: Array, weights: Array) -> Array:
        """grad: dLoss/d(what forward makes)."""
        (down, across), (height, width) = self.shape.padding, self.shape.in_size
        padded = self._padded(self.xp.zeros((len(grad), height, width, self.shape.in_channels)))
        for tap, place in self._taps():
            padded[place] += (_rows(grad) @ weights[tap].T).reshape(*grad.shape[:3], -1)
        return padded[:, down : down + height, across : across + width]

    def weight_gradient(self, images: Array, grad: Array) -> Array:
        padded = self._padded(images)
        found = self.xp.empty((*self.shape.kernel, images.shape[-1], grad.shape[-1]))
        for tap, place in self._taps():
            found[tap] = _rows(padded[place]).T @ _rows(grad)
        return found

    def _padded(self, images: Array) -> Array:
        down, across = self.shape.padding
        return self.xp.pad(images, ((0, 0), (down, down), (across, across), (0, 0)))

    def _taps(self) -> Iterator[tuple[tuple[int, int], tuple[slice, ...]]]:
        """Each place in the kernel, and the padded pixels that it meets."""
        (height, width), (down, across) = self.shape.out_size, self.shape.stride
        for y in range(self.shape.kernel[0]):
            for x in range(self.shape.kernel[1]):
                rows, columns = slice(y, y + down * height, down), slice(x, x + across * width, across)
                yield (y, x), (slice(None), rows, columns)


def _rows(array: Array) -> Array:
    """(pixels of all images, channels): one matrix, whose product is one call."""
    return array.reshape(-1, array.shape[-1])
