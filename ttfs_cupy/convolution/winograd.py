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
from itertools import pairwise
from typing import Any

from ttfs_cupy.convolution.algorithm import FLOAT32, PASSES, Algorithm, Pass
from ttfs_cupy.convolution.scratch import Scratch
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.winograd_tiles import TileGrid, tile_grids, whole_tiles
from ttfs_cupy.device import Array, Device, Stack, reductions
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.parts import parts
from ttfs_cupy.neuron import Neuron, SpikingNeuron

# Of a whole tile, along a side; and of its square.
POINTS = 6
POSITIONS = POINTS**2

# A block of fewer rows would read the transformed weights too often for the products that it does with them.
FEWEST_ROWS = 96

# Of the sums of the weight gradient, all groups of tiles together: with more, adding them up takes too long.
MOST_SUM_BYTES = 20 << 20

# A pass over all sums takes about as long as the products of so many rows.
ROWS_OF_A_PASS = 32

# Rows that a product takes at a time on a CPU (kernels/products.cpp).
ROWS_AT_A_TIME = 12

# A gradient that is smaller than so much of what it is added up from is rounding: eight half units in the last place.
ROUNDING = 2.0**-21

# With fewer channels, transforming a tile costs more than the products that it saves.
FEWEST_CHANNELS = 16

# Takes a grid, a block's first tile in it, how many tiles the block has, and scratch memory.
_BlockBody = Callable[[TileGrid, int, int, Scratch], None]


@dataclass(frozen=True)
class Winograd:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    name = "winograd"
    joins_pooling = True
    connects = False
    precision = FLOAT32
    rank = 1
    tolerance = dict.fromkeys(PASSES, 3e-5)
    rounding = ROUNDING

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        if shape.kernel != (3, 3) or shape.stride != (1, 1):
            return f"winograd needs a 3 x 3 kernel at stride 1, not {shape.kernel} at stride {shape.stride}"
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return min(shape.in_channels, shape.out_channels) >= FEWEST_CHANNELS

    def variants(self, which: Pass) -> dict[int, Algorithm]:
        return {}

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        return [reductions.FIND_SPIKES] if which == "forward" and self.device.gpu is not None else []

    def workspace(self, batch_size: int, which: Pass) -> int:
        shape, device = self.shape, self.device
        inner, outer = shape.in_channels, shape.out_channels
        if which == "weight_gradient":
            groups = self._most_groups
            rows = 2 * self._product_tiles(whole_tiles(*shape.out_size).tiles(batch_size))
            piece = self._floats(rows, inner) + self._floats(rows, self._paneled(outer))
            return groups * self._floats(inner, outer) + min(groups, device.workers) * piece
        size, all_halves, depth, columns, spiked = (
            (shape.out_size, (1, 2), inner, outer, batch_size * shape.in_pixels)
            if which == "forward"
            else (shape.in_size, (1,), outer, inner, 0)
        )
        grids = tile_grids(*size)
        blocks = max(
            min(device.workers, self._most_blocks(grids, batch_size, halves))
            * self._block_workspace(grids, batch_size, halves)
            for halves in all_halves
        )
        return self._floats(depth, self._paneled(columns)) + spiked + blocks

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a block by the same products, then the neurons' rule, and pooling, as tiles leave."""
        assert isinstance(neuron, SpikingNeuron)
        device, shape = self.device, self.shape
        inner, outer = shape.in_channels, shape.out_channels
        halves = 2 if neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, inner, outer, scratch, turned=False)
        spiked = scratch.array(images.size // inner)
        reductions.find_spikes(device, images, spiked)
        rule = (*neuron.rule, int(halves == 2), out.output, out.weight_sum, out.winner)
        sizes = (*shape.in_size, *shape.padding, *shape.out_size, outer)

        def block(grid: TileGrid, first: int, count: int, local: Scratch) -> None:
            inputs = self._stack(local, grid, halves * count, inner)
            products = self._stack(local, grid, halves * count, outer)
            self._transform_images(images, inputs, grid, first, count, halves)
            device.multiply(inputs, transformed_weights, products)
            arguments = (products.array, products.step, spiked, *rule, first, count, *sizes, *grid.from_pixel())
            self._launch("winograd_fire", count * outer, *arguments)

        self._in_blocks(tile_grids(*shape.out_size), len(images), workspace, scratch.used, halves, block)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """The same convolution of dLoss/dA, with the kernel turned and in and out exchanged."""
        device, shape = self.device, self.shape
        inner, outer = shape.in_channels, shape.out_channels
        scratch = Scratch(workspace)
        transformed_weights = self._transform_weights(weights, outer, inner, scratch, turned=True)
        spikes = self._spikes(outgoing)
        padding = (2 - shape.padding[0], 2 - shape.padding[1])

        def block(grid: TileGrid, first: int, count: int, local: Scratch) -> None:
            inputs = self._stack(local, grid, count, outer)
            products = self._stack(local, grid, count, inner)
            sizes = (*shape.out_size, outer, *grid.from_pixel(padding))
            arguments = (*spikes, inputs.array, inputs.step, first, count, *sizes)
            self._launch("winograd_drive_gradient", count * outer, *arguments)
            device.multiply(inputs, transformed_weights, products)
            target = (grad_images, first, count, *shape.in_size, inner, *grid.from_pixel())
            self._launch("winograd_output", count * inner, products.array, products.step, *target)

        self._in_blocks(tile_grids(*shape.in_size), len(grad_images), workspace, scratch.used, 1, block)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Transformed tiles of the input times those of dLoss/dA and dLoss/dS, summed over all tiles; 0 where what is
        left of the sums is only their rounding.

        Tiles are shared out to a few groups, each a task with sums of its own, so that a worker reads what it wrote
        itself; where sums are so large that adding them up would take longer, all workers share each product.
        """
        inner, outer = self.shape.in_channels, self.shape.out_channels
        groups = min(self._most_groups, len(images))
        scratch = Scratch(workspace)
        sums = scratch.array(groups, POSITIONS, inner * outer + self.device.stack_gap)
        rows = 2 * self._product_tiles(whole_tiles(*self.shape.out_size).tiles(len(images)))
        per_worker = self._floats(rows, inner) + self._floats(rows, self._paneled(outer))

        def group(index: int, worker: int) -> None:
            local = scratch.used + worker * per_worker
            of_group = Stack(sums[index], inner, outer, across=POINTS)
            self._sum_tiles(images, outgoing, of_group, Scratch(workspace, local), index, groups)

        if groups > 1:
            self.device.parallel(groups, group)
        else:
            group(0, 0)
        arguments = (sums, grad_weights, sums.shape[2], groups, self.rounding, inner, outer)
        self._launch("winograd_weight_gradient", inner * outer, *arguments)

    def _sum_tiles(
        self, images: Array, outgoing: OutgoingGradient, sums: Stack, scratch: Scratch, index: int, groups: int
    ) -> None:
        """The sums over the tiles of one group, piece by piece."""
        shape = self.shape
        inner, outer = shape.in_channels, shape.out_channels
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        spikes, panel = self._spikes(outgoing), self.device.panel(outer)
        is_first = True  # of whole tiles, so that every sum has a beginning
        for grid in self._grids_of_sums(halves * len(images)):
            tiles = grid.tiles(len(images))
            begin, end = tiles * index // groups, tiles * (index + 1) // groups
            length = self._product_tiles(tiles)
            for first in range(begin, end, length):
                count = min(length, end - first)
                local = Scratch(scratch.workspace, scratch.used)
                inputs = self._stack(local, grid, halves * count, inner)
                grads = self._stack(local, grid, halves * count, outer, panel)
                self._transform_images(images, inputs, grid, first, count, halves)
                sizes = (int(halves == 2), *shape.out_size, outer, panel, *grid.from_pixel())
                arguments = (*spikes, grads.array, grads.step, first, count, *sizes)
                self._launch("winograd_gradient", count * self._paneled(outer), *arguments)
                self.device.multiply(inputs, grads, sums, transposed=True, add=not is_first)
                is_first = False

    # Passes over tiles

    def _launch(self, kernel: str, work: int, *arguments: Any) -> None:
        """An element of these kernels is a channel of a tile."""
        self.device.launch(kernel, work, *arguments, each=POSITIONS)

    def _transform_images(
        self, images: Array, transformed: Stack, grid: TileGrid, first: int, count: int, halves: int
    ) -> None:
        shape = self.shape
        arguments = (images, transformed.array, transformed.step, first, count, int(halves == 2))
        sizes = (*shape.in_size, shape.in_channels, *grid.from_pixel(shape.padding))
        self._launch("winograd_input", count * shape.in_channels, *arguments, *sizes)

    def _transform_weights(self, weights: Array, depth: int, columns: int, scratch: Scratch, *, turned: bool) -> Stack:
        panel = self.device.panel(columns)
        transformed = self._whole_stack(scratch, depth, columns, panel)
        arguments = (weights, transformed.array, transformed.step, int(turned), depth, columns, panel)
        self._launch("winograd_weights", depth * self._paneled(columns), *arguments)
        return transformed

    def _in_blocks(
        self, grids: list[TileGrid], batch_size: int, workspace: Array, used: int, halves: int, body: _BlockBody
    ) -> None:
        """Calls the body for each block of each grid, the device's workers sharing them."""
        per_worker = self._block_workspace(grids, batch_size, halves)
        blocks = []
        for grid in grids:
            cuts = self._cuts(grid.tiles(batch_size), halves, alone=len(grids) == 1)
            blocks += [(grid, first, last) for first, last in pairwise(cuts)]

        def task(index: int, worker: int) -> None:
            grid, first, last = blocks[index]
            body(grid, first, last - first, Scratch(workspace, used + worker * per_worker))

        self.device.parallel(len(blocks), task)

    def _stack(self, scratch: Scratch, grid: TileGrid, rows: int, columns: int, panel: int = 0) -> Stack:
        return scratch.stack(*grid.positions, self.device.stack_gap, rows, columns, panel)

    def _whole_stack(self, scratch: Scratch, rows: int, columns: int, panel: int = 0) -> Stack:
        return scratch.stack(POINTS, POINTS, self.device.stack_gap, rows, columns, panel)

    @staticmethod
    def _spikes(outgoing: OutgoingGradient) -> tuple[Array | float | None, ...]:
        assert isinstance(outgoing.neuron, SpikingNeuron)
        out = outgoing.out
        return outgoing.grad, out.output, out.weight_sum, out.winner, *outgoing.neuron.derivative

    # How the work is cut, and the memory that this takes

    def _paneled(self, columns: int) -> int:
        panel = self.device.panel(columns)
        return parts(columns, panel) * panel

    def _floats(self, rows: int, columns: int) -> int:
        """Of a stack for whole tiles."""
        return POSITIONS * (rows * columns + self.device.stack_gap)

    def _row_bytes(self) -> int:
        """Of one row of transformed values and one of their products."""
        return 4 * POSITIONS * (self.shape.in_channels + self.shape.out_channels)

    def _most_block_tiles(self, halves: int) -> int:
        return max(self.device.patch_bytes // self._row_bytes(), FEWEST_ROWS) // halves

    def _cuts(self, tiles: int, halves: int, *, alone: bool) -> list[int]:
        """Where blocks of about one size begin and end; of a grid that is alone, an even number for two workers."""
        blocks, unit = self._blocks(tiles, halves, alone=alone), ROWS_AT_A_TIME // halves
        cuts = [tiles * index // blocks // unit * unit for index in range(blocks)]
        return [*sorted(set(cuts)), tiles]

    def _blocks(self, tiles: int, halves: int, *, alone: bool) -> int:
        most, pair = self._most_block_tiles(halves), 2 if alone else 1
        return pair * parts(tiles, pair * most)

    def _most_blocks(self, grids: list[TileGrid], batch_size: int, halves: int) -> int:
        """Of all grids together, for up to so many images."""
        return sum(self._blocks(grid.tiles(batch_size), halves, alone=len(grids) == 1) for grid in grids)

    def _block_workspace(self, grids: list[TileGrid], batch_size: int, halves: int) -> int:
        """Also enough for fewer images, whose blocks may be larger."""
        tiles = min(self._most_block_tiles(halves) + ROWS_AT_A_TIME, max(grid.tiles(batch_size) for grid in grids))
        return self._floats(halves * tiles, self.shape.in_channels) + self._floats(
            halves * tiles, self.shape.out_channels
        )

    def _grids_of_sums(self, batch_size: int) -> list[TileGrid]:
        """Small tiles at the ends of a side; or whole ones that overhang, where a pass over all sums for each size of
        tile would take longer than the products that small tiles spare. images: of both halves."""

        def rows(grids: list[TileGrid]) -> int:
            return sum(g.positions[0] * g.positions[1] * (g.tiles(batch_size) + ROWS_OF_A_PASS) for g in grids)

        size = self.shape.out_size
        return min(tile_grids(*size), [whole_tiles(*size)], key=rows)

    @property
    def _sum_bytes(self) -> int:
        return 4 * POSITIONS * self.shape.in_channels * self.shape.out_channels

    @property
    def _most_groups(self) -> int:
        return max(1, min(self.device.sum_groups, MOST_SUM_BYTES // self._sum_bytes))

    def _product_tiles(self, tiles: int) -> int:
        """Tiles of one product: what stays in cache, but as many as make it worth a pass over all sums."""
        bytes_at_once = self.device.product_bytes // (2 if self._most_groups > 1 else 1)
        most = max(bytes_at_once, 2 * self._sum_bytes) // (2 * self._row_bytes())
        return min(tiles, max(most, FEWEST_ROWS // 2))


ALGORITHM = Winograd
