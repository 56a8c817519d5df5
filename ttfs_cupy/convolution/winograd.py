"""Convolution by Winograd's F(4x4, 3x3): 3x3 kernels at stride 1, any padding, with a quarter of the multiplications.

Tiles are made, multiplied and finished in blocks whose transformed data stays in cache. A block holds the transformed
tiles of the earliness and, below them, those of the mask, so that A and S come from the same products with the same
transformed weights, and the neurons' rule is applied before a tile leaves. How tiles are cut into blocks depends on the
shapes alone, never on the number of workers, and so do the bits of the result.

The arithmetic, and why these interpolation points, stands in kernels/winograd.cu.
"""

from dataclasses import dataclass
from functools import cached_property

from ttfs_cupy.convolution.scratch import Scratch, part_range, parts
from ttfs_cupy.convolution.shape import ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import Neuron

TILE = 4
POSITIONS = 36

# A block of fewer tiles would read the transformed weights too often for the products that it does with them.
FEWEST_TILES = 64


def fits(shape: ConvolutionShape) -> str | None:
    """Why this algorithm cannot do that convolution, or None if it can."""
    if shape.kernel != (3, 3) or shape.stride != (1, 1):
        return f"winograd needs a 3 x 3 kernel at stride 1, not {shape.kernel} at stride {shape.stride}"
    return None


@dataclass(frozen=True)
class Winograd:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    name: str = "winograd"

    def workspace(self, batch: int, training: bool) -> int:
        """How many float32 values of scratch memory the passes need for that batch (see Algorithm)."""
        needs = [self._forward_workspace()]
        if training:
            needs += [self._data_gradient_workspace(batch), self._weight_gradient_workspace(batch)]
        return max(needs)

    def forward(
        self, images: Array, weights: Array, neuron: Neuron, output: Array, weight_sum: Array | None, workspace: Array
    ) -> None:
        """S and A of a block by the same products, then the neurons' rule while both are in cache."""
        shape, device = self.shape, self.device
        halves = 2 if neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, scratch, flipped=False)
        size, tiles = (*shape.out_size, shape.out_channels), self._tiles(len(images), shape.out_size)
        most = self._block(shape.in_channels, shape.out_channels)

        def block(task: int, worker: int) -> None:
            first, last = part_range(task, most, tiles)
            count = last - first
            local = Scratch(workspace, scratch.used + worker * self._block_workspace(neuron_arrays=True))
            source = (images, first, count, shape.in_size, shape.in_channels, shape.out_size, shape.padding)
            pixels = self._multiply(*source, transformed_weights, halves, shape.out_channels, local)
            drive, sums = pixels[: count * TILE**2], pixels[count * TILE**2 :] if halves == 2 else None
            fired = local.array(*drive.shape)
            neuron.output(drive, sums, fired)
            self._place(fired, output, first, count, size)
            if weight_sum is not None:
                self._place(sums, weight_sum, first, count, size)

        device.parallel(parts(tiles, most), block)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """The same convolution of dLoss/dA, with the kernel turned and in and out exchanged."""
        shape, device = self.shape, self.device
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, scratch, flipped=True).swapaxes(1, 2)
        grad_drive = scratch.array(outgoing.rows, shape.out_channels)
        outgoing.to_drive(grad_drive)
        padding = (2 - shape.padding[0], 2 - shape.padding[1])
        size, tiles = (*shape.in_size, shape.in_channels), self._tiles(len(grad_images), shape.in_size)
        most = self._block(shape.in_channels, shape.out_channels)

        def block(task: int, worker: int) -> None:
            first, last = part_range(task, most, tiles)
            local = Scratch(workspace, scratch.used + worker * self._block_workspace(neuron_arrays=False))
            source = (grad_drive, first, last - first, shape.out_size, shape.out_channels, shape.in_size, padding)
            pixels = self._multiply(*source, transformed_weights, 1, shape.in_channels, local)
            self._place(pixels, grad_images, first, last - first, size)

        device.parallel(parts(tiles, most), block)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Transformed tiles of the input times those of dLoss/dA and dLoss/dS, summed over all tiles."""
        shape, device = self.shape, self.device
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        grads = scratch.array(halves, outgoing.rows, shape.out_channels)
        outgoing.to_drive(grads[0], grads[1] if halves == 2 else None)
        sums = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        term = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        tiles = self._tiles(len(images), shape.out_size)
        most = self._weight_gradient_tiles(tiles)
        for first in range(0, tiles, most):
            count = min(most, tiles - first)
            local = Scratch(workspace, scratch.used)
            inputs = local.array(POSITIONS, halves * count, shape.in_channels)
            outputs = local.array(POSITIONS, halves * count, shape.out_channels)
            self._transform_input(
                images, inputs, first, count, shape.in_size, shape.in_channels, shape.out_size, shape.padding, halves
            )
            for half in range(halves):
                self._transform_gradient(grads[half], outputs, first, count, half * count)
            target = sums if first == 0 else term

            def product(
                position: int, _: int, inputs: Array = inputs, outputs: Array = outputs, target: Array = target
            ) -> None:
                device.matmul(inputs[position].T, outputs[position], out=target[position])
                if target is term:
                    device.launch("add", sums[position].size, sums[position], term[position], sums[position].size)

            device.parallel(POSITIONS, product)
        count = shape.in_channels * shape.out_channels
        device.launch("winograd_weight_gradient", count, sums, grad_weights, count)

    # Passes over tiles

    def _transform_weights(self, weights: Array, scratch: Scratch, *, flipped: bool) -> Array:
        shape = self.shape
        transformed = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        count = shape.in_channels * shape.out_channels
        self.device.launch("winograd_weights", count, weights, transformed, int(flipped), count)
        return transformed

    def _multiply(
        self,
        images: Array,
        first: int,
        count: int,
        in_size: tuple[int, int],
        in_channels: int,
        out_size: tuple[int, int],
        padding: tuple[int, int],
        transformed_weights: Array,
        halves: int,
        out_channels: int,
        local: Scratch,
    ) -> Array:
        """The 4x4 outputs of a block of tiles, (halves * count * 16, out_channels)."""
        inputs = local.array(POSITIONS, halves * count, in_channels)
        products = local.array(POSITIONS, halves * count, out_channels)
        self._transform_input(images, inputs, first, count, in_size, in_channels, out_size, padding, halves)
        self.device.matmul(inputs, transformed_weights, out=products)
        pixels = local.array(halves * count * TILE**2, out_channels)
        self.device.launch(
            "winograd_output", halves * count * out_channels, products, pixels, halves * count, out_channels
        )
        return pixels

    def _transform_input(
        self,
        images: Array,
        transformed: Array,
        first: int,
        count: int,
        in_size: tuple[int, int],
        channels: int,
        out_size: tuple[int, int],
        padding: tuple[int, int],
        halves: int,
    ) -> None:
        self.device.launch(
            "winograd_input",
            halves * count * channels,
            *(images, self._zeros, transformed, first, count, int(halves == 2), *in_size, channels),
            *(*self._tile_grid(out_size), *padding),
        )

    def _transform_gradient(self, grads: Array, transformed: Array, first: int, count: int, first_row: int) -> None:
        shape = self.shape
        self.device.launch(
            "winograd_gradient",
            count * shape.out_channels,
            *(grads, self._zeros, transformed, first, count, first_row, transformed.shape[1]),
            *(*shape.out_size, shape.out_channels, *self._tile_grid(shape.out_size)),
        )

    def _place(self, pixels: Array, images: Array, first: int, count: int, size: tuple[int, int, int]) -> None:
        grid = self._tile_grid(size[:2])
        self.device.launch("place_tiles", pixels.size, pixels, images, first, count, *size, *grid)

    @cached_property
    def _zeros(self) -> Array:
        return self.device.xp.zeros(max(self.shape.in_channels, self.shape.out_channels), "float32")

    # How the work is cut, and the memory that this takes

    @staticmethod
    def _tile_grid(size: tuple[int, int]) -> tuple[int, int]:
        return parts(size[0], TILE), parts(size[1], TILE)

    def _tiles(self, batch: int, size: tuple[int, int]) -> int:
        height, width = self._tile_grid(size)
        return batch * height * width

    def _block(self, in_channels: int, out_channels: int) -> int:
        per_tile = 2 * 4 * POSITIONS * (in_channels + out_channels)
        return max(self.device.patch_bytes // per_tile, FEWEST_TILES)

    def _block_workspace(self, *, neuron_arrays: bool) -> int:
        shape = self.shape
        tiles = self._block(shape.in_channels, shape.out_channels)
        channels = shape.in_channels + shape.out_channels
        transformed = (2 if neuron_arrays else 1) * tiles * POSITIONS * channels
        pixels = tiles * TILE**2 * (3 * shape.out_channels if neuron_arrays else shape.in_channels)
        return transformed + pixels

    def _weight_gradient_tiles(self, tiles: int) -> int:
        """Tiles of one sum: as many as the device likes, since each further sum costs a pass over all of them."""
        per_tile = 2 * 4 * POSITIONS * (self.shape.in_channels + self.shape.out_channels)
        return min(tiles, max(self.device.product_bytes // per_tile, FEWEST_TILES))

    def _forward_workspace(self) -> int:
        weights = POSITIONS * self.shape.in_channels * self.shape.out_channels
        return weights + self.device.workers * self._block_workspace(neuron_arrays=True)

    def _data_gradient_workspace(self, batch: int) -> int:
        shape = self.shape
        weights = POSITIONS * shape.in_channels * shape.out_channels
        grad_drive = batch * shape.out_pixels * shape.out_channels
        return weights + grad_drive + self.device.workers * self._block_workspace(neuron_arrays=False)

    def _weight_gradient_workspace(self, batch: int) -> int:
        shape = self.shape
        grads = 2 * batch * shape.out_pixels * shape.out_channels
        sums = 2 * POSITIONS * shape.in_channels * shape.out_channels
        tiles = self._weight_gradient_tiles(self._tiles(batch, shape.out_size))
        return grads + sums + 2 * tiles * POSITIONS * (shape.in_channels + shape.out_channels)
