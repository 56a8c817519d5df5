"""Convolution by Winograd's F(4x4, 3x3): 3x3 kernels at stride 1, any padding, with a quarter of the multiplications.

Tiles are made, multiplied and finished in blocks whose transformed data stays in cache. A block holds the transformed
tiles of the earliness and, below them, those of the mask, so that A and S come from the same products with the same
transformed weights; the neurons' rule, and pooling where a pool follows, are applied as a tile leaves. Backward forms
each neuron's derivative as a tile enters. How tiles are cut into blocks depends on the shapes alone, never on the
number of workers, and so do the bits of the result.

The arithmetic, and why these interpolation points, stands in kernels/winograd.cu.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ttfs_cupy.convolution.algorithm import Pass
from ttfs_cupy.convolution.scratch import Scratch, part_range, parts
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device, Stack
from ttfs_cupy.neuron import Neuron, SpikingNeuron

TILE = 4
POSITIONS = 36

# A block of fewer tiles would read the transformed weights too often for the products that it does with them.
FEWEST_TILES = 48

# Rows that a product takes at a time on a CPU (kernels/products.cpp).
BLOCK_MULTIPLE = 12

# With fewer channels, transforming a tile costs more than the products that it saves.
FEWEST_CHANNELS = 16


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
    name = "winograd"
    joins_pooling = True
    rank = 1
    tolerance = 1e-5

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        if shape.kernel != (3, 3) or shape.stride != (1, 1):
            return f"winograd needs a 3 x 3 kernel at stride 1, not {shape.kernel} at stride {shape.stride}"
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return min(shape.in_channels, shape.out_channels) >= FEWEST_CHANNELS

    def workspace(self, batch: int, which: Pass) -> int:
        shape, device = self.shape, self.device
        if which == "forward":
            blocks = device.workers * self._block_workspace(self._onward, batch, halves=2)
            return self._transformed_weights(self._onward) + batch * shape.in_pixels + blocks
        if which == "data_gradient":
            blocks = device.workers * self._block_workspace(self._back, batch, halves=1)
            return self._transformed_weights(self._back) + blocks
        sums = self._floats(shape.in_channels, shape.out_channels) * (1 if device.adds_products else 2)
        rows = 2 * self._product_tiles(self._onward.tiles(batch))
        return sums + self._floats(rows, shape.in_channels) + self._floats(rows, self._paneled(shape.out_channels))

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a block by the same products, then the neurons' rule, and pooling, as tiles leave."""
        assert isinstance(neuron, SpikingNeuron)
        tile_map, device, shape = self._onward, self.device, self.shape
        halves = 2 if neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(tile_map, weights, scratch, turned=False)
        spiked = scratch.array(images.size // shape.in_channels)
        device.launch("find_spikes", images.size, images, spiked, spiked.size, shape.in_channels)
        rule = (*neuron.rule, int(halves == 2), out.output, out.weight_sum, out.winner)
        sizes = (*shape.in_size, *shape.padding, *shape.out_size, shape.out_channels, *tile_map.grid)

        def block(first: int, count: int, local: Scratch) -> None:
            inputs = self._stack(local, halves * count, shape.in_channels)
            products = self._stack(local, halves * count, shape.out_channels)
            arguments = (images, inputs.array, inputs.step, first, count, int(halves == 2))
            device.launch(
                "winograd_input", count * shape.in_channels, *arguments, *self._input_sizes(tile_map), each=POSITIONS
            )
            device.multiply(inputs, transformed_weights, products)
            arguments = (products.array, products.step, spiked, *rule, first, count)
            device.launch("winograd_fire", count * shape.out_channels, *arguments, *sizes, each=POSITIONS)

        self._in_blocks(tile_map, len(images), workspace, scratch.used, 2, block)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """The same convolution of dLoss/dA, with the kernel turned and in and out exchanged."""
        tile_map, device = self._back, self.device
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(tile_map, weights, scratch, turned=True)
        spikes = self._spikes(outgoing)
        target = (*tile_map.target_size, tile_map.target_channels, *tile_map.grid)

        def block(first: int, count: int, local: Scratch) -> None:
            inputs = self._stack(local, count, tile_map.source_channels)
            products = self._stack(local, count, tile_map.target_channels)
            arguments = (*spikes, inputs.array, inputs.step, first, count, *self._input_sizes(tile_map))
            device.launch("winograd_drive_gradient", count * tile_map.source_channels, *arguments, each=POSITIONS)
            device.multiply(inputs, transformed_weights, products)
            arguments = (products.array, products.step, grad_images, first, count, *target)
            device.launch("winograd_output", count * tile_map.target_channels, *arguments, each=POSITIONS)

        self._in_blocks(tile_map, len(grad_images), workspace, scratch.used, 1, block)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Transformed tiles of the input times those of dLoss/dA and dLoss/dS, summed over all tiles."""
        shape, device, tile_map = self.shape, self.device, self._onward
        tiles = tile_map.tiles(len(images))
        most = self._product_tiles(tiles)
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        spikes = self._spikes(outgoing)
        panel = device.panel(shape.out_channels)
        scratch = Scratch(workspace)
        sums = self._stack(scratch, shape.in_channels, shape.out_channels)
        term = None if device.adds_products else self._stack(scratch, shape.in_channels, shape.out_channels)
        sizes = (int(halves == 2), *shape.out_size, shape.out_channels, panel, *tile_map.grid)
        for first in range(0, tiles, most):
            count = min(most, tiles - first)
            local = Scratch(workspace, scratch.used)
            inputs = self._stack(local, halves * count, shape.in_channels)
            grads = self._stack(local, halves * count, shape.out_channels, panel)
            arguments = (images, inputs.array, inputs.step, first, count, int(halves == 2))
            device.launch(
                "winograd_input", count * shape.in_channels, *arguments, *self._input_sizes(tile_map), each=POSITIONS
            )
            arguments = (*spikes, grads.array, grads.step, first, count, *sizes)
            device.launch("winograd_gradient", count * self._paneled(shape.out_channels), *arguments, each=POSITIONS)
            device.multiply(inputs, grads, sums, transposed=True, add=first > 0, term=term)
        count = shape.in_channels * shape.out_channels
        sizes_of_sums = (shape.in_channels, shape.out_channels)
        device.launch(
            "winograd_weight_gradient", count, sums.array, sums.step, grad_weights, *sizes_of_sums, each=POSITIONS
        )

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

    def _in_blocks(
        self,
        tile_map: _TileMap,
        batch: int,
        workspace: Array,
        used: int,
        halves: int,
        body: Callable[[int, int, Scratch], None],
    ) -> None:
        """Calls body(first tile, how many, scratch) for each block, the device's workers sharing them."""
        tiles = tile_map.tiles(batch)
        block_tiles = self._block_tiles(tiles, halves)
        per_worker = self._block_workspace(tile_map, batch, halves)

        def task(index: int, worker: int) -> None:
            first, last = part_range(index, block_tiles, tiles)
            body(first, last - first, Scratch(workspace, used + worker * per_worker))

        self.device.parallel(parts(tiles, block_tiles), task)

    def _transform_weights(self, tile_map: _TileMap, weights: Array, scratch: Scratch, *, turned: bool) -> Stack:
        depth, columns = tile_map.source_channels, tile_map.target_channels
        panel = self.device.panel(columns)
        transformed = self._stack(scratch, depth, columns, panel)
        arguments = (weights, transformed.array, transformed.step, int(turned), depth, columns, panel)
        self.device.launch("winograd_weights", depth * self._paneled(columns), *arguments, each=POSITIONS)
        return transformed

    def _stack(self, scratch: Scratch, rows: int, columns: int, panel: int = 0) -> Stack:
        return scratch.stack(POSITIONS, self.device.stack_gap, rows, columns, panel)

    @staticmethod
    def _input_sizes(tile_map: _TileMap) -> tuple[int, ...]:
        return (*tile_map.source_size, tile_map.source_channels, *tile_map.grid, *tile_map.padding)

    @staticmethod
    def _spikes(outgoing: OutgoingGradient) -> tuple[Array | float | None, ...]:
        assert isinstance(outgoing.neuron, SpikingNeuron)
        out = outgoing.out
        return outgoing.grad, out.output, out.weight_sum, out.winner, *outgoing.neuron.derivative

    # How the work is cut, and the memory that this takes

    def _paneled(self, columns: int) -> int:
        panel = self.device.panel(columns)
        return parts(columns, panel) * panel

    def _transformed_weights(self, tile_map: _TileMap) -> int:
        return self._floats(tile_map.source_channels, self._paneled(tile_map.target_channels))

    def _floats(self, rows: int, columns: int) -> int:
        """Of one stack."""
        return POSITIONS * (rows * columns + self.device.stack_gap)

    def _row_bytes(self) -> int:
        """Of one row of transformed values and one of their products."""
        return 4 * POSITIONS * (self.shape.in_channels + self.shape.out_channels)

    def _most_block_tiles(self, halves: int) -> int:
        return max(self.device.patch_bytes // (halves * self._row_bytes()), FEWEST_TILES)

    def _block_tiles(self, tiles: int, halves: int) -> int:
        # an even number of blocks of one size: two workers then end together
        blocks = 2 * parts(tiles, 2 * self._most_block_tiles(halves))
        return _whole_rows(parts(tiles, blocks))

    def _block_workspace(self, tile_map: _TileMap, batch: int, halves: int) -> int:
        """Also enough for fewer images, whose blocks may be larger."""
        rows = halves * _whole_rows(min(self._most_block_tiles(halves), tile_map.tiles(batch)))
        return self._floats(rows, self.shape.in_channels) + self._floats(rows, self.shape.out_channels)

    def _product_tiles(self, tiles: int) -> int:
        """Tiles of one sum: what stays in cache, but as many as make their products worth a pass over all sums."""
        sums = 4 * POSITIONS * self.shape.in_channels * self.shape.out_channels
        most = max(self.device.product_bytes, 2 * sums) // (2 * self._row_bytes())
        return min(tiles, max(most, FEWEST_TILES))


def _whole_rows(tiles: int) -> int:
    return parts(tiles, BLOCK_MULTIPLE) * BLOCK_MULTIPLE


ALGORITHM = Winograd
