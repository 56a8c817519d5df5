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
class _TileMap:
    """From tiles of 6x6 pixels of the source to tiles of 4x4 pixels of the target. Sizes are (height, width)."""

    source_size: tuple[int, int]
    source_channels: int
    target_size: tuple[int, int]
    target_channels: int
    padding: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles of one image, vertically and horizontally; the last ones may overhang."""
        return parts(self.target_size[0], TILE), parts(self.target_size[1], TILE)

    def tiles(self, batch: int) -> int:
        return batch * self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Winograd:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    name: str = "winograd"

    def workspace(self, batch: int, training: bool) -> int:
        """How many float32 values of scratch memory the passes need for that batch (see Algorithm)."""
        needs = [self._forward_workspace(batch)]
        if training:
            needs += [self._data_gradient_workspace(batch), self._weight_gradient_workspace(batch)]
        return max(needs)

    def forward(
        self, images: Array, weights: Array, neuron: Neuron, output: Array, weight_sum: Array | None, workspace: Array
    ) -> None:
        """S and A of a block by the same products, then the neurons' rule while both are in cache."""
        tile_map, block_tiles = self._onward, self._block_tiles
        tiles = tile_map.tiles(len(images))
        halves = 2 if neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, scratch, flipped=False)
        pixels_in = images.size // self.shape.in_channels
        spiked = scratch.array(pixels_in)
        self.device.launch("find_spikes", images.size, images, spiked, pixels_in, self.shape.in_channels)

        def block(task: int, worker: int) -> None:
            first, last = part_range(task, block_tiles, tiles)
            local = Scratch(workspace, scratch.used + worker * self._forward_block_workspace)
            pixels = self._convolve(tile_map, images, transformed_weights, first, last - first, halves, local)
            self._silence_unreached(tile_map, pixels, spiked, first, last - first, halves)
            count = (last - first) * TILE**2
            drive, sums = pixels[:count], pixels[count:] if halves == 2 else None
            fired = local.array(*drive.shape)
            neuron.output(drive, sums, fired)
            self._place(tile_map, fired, output, first)
            if weight_sum is not None:
                self._place(tile_map, sums, weight_sum, first)

        self.device.parallel(parts(tiles, block_tiles), block)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """The same convolution of dLoss/dA, with the kernel turned and in and out exchanged."""
        tile_map, block_tiles = self._back, self._block_tiles
        tiles = tile_map.tiles(len(grad_images))
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, scratch, flipped=True).swapaxes(1, 2)
        grad_drive = scratch.array(outgoing.rows, self.shape.out_channels)
        outgoing.to_drive(grad_drive)

        def block(task: int, worker: int) -> None:
            first, last = part_range(task, block_tiles, tiles)
            local = Scratch(workspace, scratch.used + worker * self._data_gradient_block_workspace)
            pixels = self._convolve(tile_map, grad_drive, transformed_weights, first, last - first, 1, local)
            self._place(tile_map, pixels, grad_images, first)

        self.device.parallel(parts(tiles, block_tiles), block)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Transformed tiles of the input times those of dLoss/dA and dLoss/dS, summed over all tiles."""
        shape, device, tile_map = self.shape, self.device, self._onward
        tiles = tile_map.tiles(len(images))
        most = self._product_tiles(tiles)
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        grads = scratch.array(halves, outgoing.rows, shape.out_channels)
        outgoing.to_drive(grads[0], grads[1] if halves == 2 else None)
        sums = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        term = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        for first in range(0, tiles, most):
            count = min(most, tiles - first)
            local = Scratch(workspace, scratch.used)
            inputs = local.array(POSITIONS, halves * count, shape.in_channels)
            outputs = local.array(POSITIONS, halves * count, shape.out_channels)
            self._transform_input(tile_map, images, inputs, first, count, halves)
            for half in range(halves):
                self._transform_gradient(grads[half], outputs, first, count, half * count)
            self._add_products(inputs, outputs, sums, None if first == 0 else term)
        count = shape.in_channels * shape.out_channels
        device.launch("winograd_weight_gradient", count, sums, grad_weights, count)

    # Passes over tiles

    @property
    def _onward(self) -> _TileMap:
        shape = self.shape
        return _TileMap(shape.in_size, shape.in_channels, shape.out_size, shape.out_channels, shape.padding)

    @property
    def _back(self) -> _TileMap:
        shape = self.shape
        padding = (2 - shape.padding[0], 2 - shape.padding[1])
        return _TileMap(shape.out_size, shape.out_channels, shape.in_size, shape.in_channels, padding)

    def _convolve(
        self,
        tile_map: _TileMap,
        images: Array,
        transformed_weights: Array,
        first: int,
        count: int,
        halves: int,
        local: Scratch,
    ) -> Array:
        """The 4x4 outputs of a block of tiles, (halves * count * 16, target_channels)."""
        rows, channels = halves * count, tile_map.target_channels
        inputs = local.array(POSITIONS, rows, tile_map.source_channels)
        products = local.array(POSITIONS, rows, channels)
        pixels = local.array(rows * TILE**2, channels)
        self._transform_input(tile_map, images, inputs, first, count, halves)
        self.device.matmul(inputs, transformed_weights, out=products)
        self.device.launch("winograd_output", rows * channels, products, pixels, rows, channels)
        return pixels

    def _silence_unreached(
        self, tile_map: _TileMap, pixels: Array, spiked: Array, first: int, count: int, halves: int
    ) -> None:
        sizes = (*tile_map.source_size, tile_map.target_channels, *tile_map.grid, *tile_map.padding)
        self.device.launch("silence_unreached", pixels.size, pixels, spiked, first, count, halves, *sizes)

    def _add_products(self, inputs: Array, outputs: Array, sums: Array, term: Array | None) -> None:
        """sums = inputs.T @ outputs of each position; added to what is there, by way of term, unless that is None."""
        target = sums if term is None else term

        def product(position: int, _: int) -> None:
            self.device.matmul(inputs[position].T, outputs[position], out=target[position])
            if term is not None:
                size = sums[position].size
                self.device.launch("add", size, sums[position], term[position], size)

        self.device.parallel(POSITIONS, product)

    def _transform_weights(self, weights: Array, scratch: Scratch, *, flipped: bool) -> Array:
        shape = self.shape
        transformed = scratch.array(POSITIONS, shape.in_channels, shape.out_channels)
        count = shape.in_channels * shape.out_channels
        self.device.launch("winograd_weights", count, weights, transformed, int(flipped), count)
        return transformed

    def _transform_input(
        self, tile_map: _TileMap, images: Array, transformed: Array, first: int, count: int, halves: int
    ) -> None:
        channels = tile_map.source_channels
        self.device.launch(
            "winograd_input",
            halves * count * channels,
            *(images, self._zeros, transformed, first, count, int(halves == 2), *tile_map.source_size, channels),
            *(*tile_map.grid, *tile_map.padding),
        )

    def _transform_gradient(self, grads: Array, transformed: Array, first: int, count: int, first_row: int) -> None:
        channels = self.shape.out_channels
        self.device.launch(
            "winograd_gradient",
            count * channels,
            *(grads, self._zeros, transformed, first, count, first_row, transformed.shape[1]),
            *(*self.shape.out_size, channels, *self._onward.grid),
        )

    def _place(self, tile_map: _TileMap, pixels: Array, images: Array, first: int) -> None:
        channels = tile_map.target_channels
        count = pixels.size // (TILE**2 * channels)
        self.device.launch(
            "place_tiles", pixels.size, pixels, images, first, count, *tile_map.target_size, channels, *tile_map.grid
        )

    @cached_property
    def _zeros(self) -> Array:
        return self.device.xp.zeros(max(self.shape.in_channels, self.shape.out_channels), "float32")

    # How the work is cut, and the memory that this takes

    @property
    def _bytes_per_tile(self) -> int:
        """Of the transformed earliness and mask, and of their products."""
        return 2 * 4 * POSITIONS * (self.shape.in_channels + self.shape.out_channels)

    @property
    def _block_tiles(self) -> int:
        return max(self.device.patch_bytes // self._bytes_per_tile, FEWEST_TILES)

    def _product_tiles(self, tiles: int) -> int:
        """Tiles of one sum: as many as the device likes, since each further sum costs a pass over all of them."""
        return min(tiles, max(self.device.product_bytes // self._bytes_per_tile, FEWEST_TILES))

    @property
    def _transformed_weights(self) -> int:
        return POSITIONS * self.shape.in_channels * self.shape.out_channels

    @property
    def _forward_block_workspace(self) -> int:
        # drive, weight sum and output of each pixel
        pixels = self._block_tiles * TILE**2 * 3 * self.shape.out_channels
        return self._block_tiles * self._bytes_per_tile // 4 + pixels

    @property
    def _data_gradient_block_workspace(self) -> int:
        return self._block_tiles * (self._bytes_per_tile // 8 + TILE**2 * self.shape.in_channels)

    def _forward_workspace(self, batch: int) -> int:
        spiked = batch * self.shape.in_pixels
        return self._transformed_weights + spiked + self.device.workers * self._forward_block_workspace

    def _data_gradient_workspace(self, batch: int) -> int:
        grad_drive = batch * self.shape.out_pixels * self.shape.out_channels
        blocks = self.device.workers * self._data_gradient_block_workspace
        return self._transformed_weights + grad_drive + blocks

    def _weight_gradient_workspace(self, batch: int) -> int:
        grads = 2 * batch * self.shape.out_pixels * self.shape.out_channels
        tiles = self._product_tiles(self._onward.tiles(batch))
        return grads + 2 * self._transformed_weights + tiles * self._bytes_per_tile // 4
