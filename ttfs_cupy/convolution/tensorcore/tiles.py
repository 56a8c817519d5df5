"""How the products on tensor cores are cut into blocks: what a block computes, sees and needs.

The candidates are listed here, and the one that a GPU should be fastest with is found by counting: how many of its
blocks fit into a multiprocessor, how many rounds they need, and what a block asks for (costs.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.costs import (
    CHUNK,
    CHUNK_PIECES,
    PIECE_BYTES,
    STEP,
    Block,
    Rounds,
    needs,
    product_block,
    sum_block,
)
from ttfs_cupy.device import Device
from ttfs_cupy.device.compilation.source import Constants, Variant
from ttfs_cupy.device.gpu_limits import WARP, GpuLimits
from ttfs_cupy.device.parts import parts, parts_of_tree

# With so many images, blocks of pixels have met images at every place where they can.
IMAGES_OF_EVERY_HALO = 256

# A block's range of a sum over pixels has at least so many; there are at most so many ranges, and a block adds FAN.
FEWEST_RANGE_PIXELS = 256
MOST_RANGES = 64
FAN = 8
# The same of a sum over chunks of channels, in full connections to no more than so many neurons.
FEWEST_RANGE_CHUNKS, MOST_CHANNEL_RANGES, FEW_CHANNELS = 8, 32, 256

# Steps whose tables are made at a time; taps of a strip; and pixels of its halo, where lines have four pixels at least
# and the stride is 1.
RUN, MOST_TAPS, USUAL_HALO = 5, 3, 24
# Blocks for each multiprocessor that a sum over pixels is cut into, at most: candidates, too.
BLOCKS_OF_MULTIPROCESSOR = (1, 2, 3, 4)

# Estimates that differ by less are taken for the same.
UNSURE = 0.02


@dataclass(frozen=True)
class Launch:
    """A variant, how many blocks of it, the shared memory of each, in bytes, and what else a block asks for.

    halo_pixels: what a block has room for. ranges: into which a sum is cut, each of range_pixels, or of range_chunks of
    channels; parts_size: floats of their sums, where there are several.
    """

    variant: Variant
    blocks: int
    shared_bytes: int
    block: Block
    halo_pixels: int = 0
    ranges: int = 1
    range_pixels: int = 0
    range_chunks: int = 0
    parts_size: int = 0

    def with_constants(self, **values: int) -> "Launch":
        """Of the same variant but for these."""
        constants = tuple((dict(self.variant.constants) | values).items())
        return replace(self, variant=replace(self.variant, constants=constants))


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over images, as in implicit_gemm.h. Pairs are (vertical, horizontal)."""

    size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    spread: tuple[int, int]
    out_size: tuple[int, int]
    pooled_out: bool = False

    @classmethod
    def forward(cls, shape: ConvolutionShape, *, pooled: bool = False) -> "Sliding":
        sizes = (shape.kernel, shape.stride, shape.padding, (1, 1), shape.out_size)
        return cls(shape.in_size, shape.in_channels, *sizes, pooled)

    @classmethod
    def backward(cls, shape: ConvolutionShape) -> "Sliding":
        """Over the gradients of the outputs, as far apart as the kernel's steps were."""
        padding = (shape.kernel[0] - 1 - shape.padding[0], shape.kernel[1] - 1 - shape.padding[1])
        sizes = (shape.kernel, (1, 1), padding, shape.stride, shape.in_size)
        return cls(shape.out_size, shape.out_channels, *sizes)

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def pixels(self, batch_size: int) -> int:
        """That are computed; of pooling, those of whole windows."""
        height, width = self.out_size
        return batch_size * (height // 2 * (width // 2) * 4 if self.pooled_out else height * width)

    def halo_pixels(self, batch_size: int, block_pixels: int) -> int:
        """What the block that sees most sees, in pixels of the padded images, whole lines of them."""
        return _halo_pixels(self, batch_size, block_pixels)

    def first_line(self, pixel: np.ndarray) -> np.ndarray:
        """Of the halo, that these pixels' kernels see, images one below the other."""
        height, width = self.out_size
        if self.pooled_out:
            window = pixel // 4
            image, y = np.divmod(window // (width // 2), height // 2)
            y = y * 2 + pixel // 2 % 2
        else:
            image, y = np.divmod(pixel // width, height)
        halo_height = (height - 1) * self.stride[0] + self.kernel[0]
        lines: np.ndarray = image * halo_height + y * self.stride[0]
        return lines


@lru_cache(maxsize=1024)
def _halo_pixels(sliding: Sliding, batch_size: int, block_pixels: int) -> int:
    pixels = sliding.pixels(min(batch_size, IMAGES_OF_EVERY_HALO))
    first = np.arange(0, pixels, block_pixels)
    last = np.minimum(first + block_pixels, pixels) - 1
    lines = int((sliding.first_line(last) - sliding.first_line(first)).max()) + sliding.kernel[0]
    return lines * ((sliding.out_size[1] - 1) * sliding.stride[1] + sliding.kernel[1])


@dataclass(frozen=True)
class ProductTile:
    """A block of implicit_gemm.h, with its constants. in_groups: its warps multiply by four (spiking_groups.h)."""

    warp_channels: int
    warp_pixels: int
    warps_down: int
    warps_across: int
    stages: int
    taps: int
    in_groups: bool = False

    @property
    def threads(self) -> int:
        return WARP * self.warps_down * self.warps_across

    @property
    def channels(self) -> int:
        return 16 * self.warp_channels * self.warps_down

    @property
    def pixels(self) -> int:
        return 8 * self.warp_pixels * self.warps_across

    @property
    def constants(self) -> Constants:
        return (
            *(("WARP_CHANNELS", self.warp_channels), ("WARP_PIXELS", self.warp_pixels)),
            *(("WARPS_DOWN", self.warps_down), ("WARPS_ACROSS", self.warps_across)),
            *(("STAGES", self.stages), ("TAPS", self.taps)),
        )

    def shared_bytes(self, sliding: Sliding, batch_size: int, *, staged: bool = False, pooled: bool = False) -> int:
        """staged: with room for the earliness and the weight sums that belong to the halo's gradients; pooled: and for
        the winners."""
        halo = sliding.halo_pixels(batch_size, self.pixels)
        tables = parts(halo + sliding.taps, CHUNK_PIECES)
        ring = self.stages * self.taps * self.channels * CHUNK_PIECES
        pieces = tables + (4 if staged else 2) * halo * CHUNK_PIECES + ring
        return pieces * PIECE_BYTES + (halo * CHUNK if pooled else 0)

    def launch(
        self,
        kernel: str,
        options: Constants,
        sliding: Sliding,
        batch_size: int,
        out_channels: int,
        *,
        staged: bool = False,
        ranges: int = 1,
    ) -> Launch:
        """ranges: into which the channels that are summed over are cut, at most."""
        whole = int(sliding.channels % CHUNK == 0 and out_channels % self.channels == 0)
        rows = int(sliding.kernel[1] == self.taps)
        variant = Variant(kernel, (*self.constants, ("ROWS", rows), ("WHOLE", whole), *options), self.threads)
        halo, chunks = sliding.halo_pixels(batch_size, self.pixels), parts(sliding.channels, CHUNK)
        range_chunks = parts(chunks, ranges)
        ranges = parts(chunks, range_chunks)
        return Launch(
            variant,
            blocks=self.blocks(sliding, batch_size, out_channels) * ranges,
            shared_bytes=self.shared_bytes(
                sliding, batch_size, staged=staged, pooled=bool(dict(options).get("POOLED"))
            ),
            block=product_block(variant, sliding.taps, range_chunks, halo, ranges),
            halo_pixels=halo,
            ranges=ranges,
            range_chunks=range_chunks,
            parts_size=self.parts_size(sliding, batch_size, out_channels, ranges),
        )

    def blocks(self, sliding: Sliding, batch_size: int, out_channels: int) -> int:
        """Of one range of the channels that are summed over."""
        return parts(sliding.pixels(batch_size), self.pixels) * parts(out_channels, self.channels)

    def parts_size(self, sliding: Sliding, batch_size: int, out_channels: int, ranges: int) -> int:
        """Floats of the sums of so many ranges, A and S, and of the tree's nodes."""
        sums = 2 * self.channels * self.pixels * self.blocks(sliding, batch_size, out_channels)
        return parts_of_tree(ranges, FAN) * sums


@dataclass(frozen=True)
class SumTile:
    """A block of tensorcore_weight_gradient.cu, with its constants.

    A warp's taps are strips, neighbours in a row of the kernel; a strip's halo has room for what it sees of a step.
    """

    warps_out: int
    warps_in: int
    warp_in: int
    strips: int
    taps: int
    halo: int
    paired: bool
    blocks_of_multiprocessor: int = BLOCKS_OF_MULTIPROCESSOR[0]
    # Of neurons; inputs, which need not be derived, have one less.
    stages: ClassVar[int] = 3

    @property
    def threads(self) -> int:
        return WARP * self.warps_out * self.warps_in

    @property
    def out_channels(self) -> int:
        return 64 * self.warps_out

    @property
    def in_channels(self) -> int:
        return 8 * self.warp_in * self.warps_in

    @property
    def all_taps(self) -> int:
        return self.strips * self.taps

    @property
    def constants(self) -> Constants:
        return (
            *(("WARPS_OUT", self.warps_out), ("WARPS_IN", self.warps_in), ("WARP_IN", self.warp_in)),
            *(("STRIPS", self.strips), ("TAPS", self.taps), ("HALO", self.halo), ("PAIRED", int(self.paired))),
            ("FAN", FAN),
        )

    def tiles(self, shape: ConvolutionShape) -> int:
        """Of the weights."""
        channels = parts(shape.out_channels, self.out_channels) * parts(shape.in_channels, self.in_channels)
        return channels * parts(strips(shape.kernel), self.strips)

    @property
    def shared_bytes(self) -> int:
        neurons = 3 * (STEP * (self.out_channels // 4 + 1) + 1) + 1 + STEP * self.out_channels // 16
        # pixels, of which all threads together copy so many at a time
        at_a_time = self.threads // (self.in_channels // 4)
        inputs = parts(self.strips * self.halo, at_a_time) * at_a_time
        tables = 3 * RUN * (inputs + 3 * STEP) // 4
        pieces = tables + self.stages * neurons + (self.stages - 1) * inputs * (self.in_channels // 4 + 1)
        return pieces * PIECE_BYTES

    def parts_size(self, shape: ConvolutionShape, ranges: int) -> int:
        """Floats of the sums of so many ranges, and of the tree's nodes, for all tiles of the weights."""
        sums = self.out_channels * self.in_channels * self.all_taps
        return parts_of_tree(ranges, FAN) * self.tiles(shape) * sums

    def most_ranges(self, shape: ConvolutionShape, batch_size: int, gpu: GpuLimits) -> int:
        """That the pixels are cut into; with fewer images there are no more."""
        wanted = self.blocks_of_multiprocessor * gpu.multiprocessors // self.tiles(shape)
        return max(1, min(wanted, MOST_RANGES, batch_size * shape.out_pixels // FEWEST_RANGE_PIXELS))

    def launch(
        self, kernel: str, options: Constants, shape: ConvolutionShape, batch_size: int, gpu: GpuLimits
    ) -> Launch:
        pixels = batch_size * shape.out_pixels
        range_pixels = parts(parts(pixels, self.most_ranges(shape, batch_size, gpu)), STEP) * STEP
        ranges = parts(pixels, range_pixels)
        whole = int(shape.out_channels % self.out_channels == 0 and shape.in_channels % self.in_channels == 0)
        variant = Variant(kernel, (*self.constants, ("WHOLE", whole), *options), self.threads)
        return Launch(
            variant,
            blocks=self.tiles(shape) * ranges,
            shared_bytes=self.shared_bytes,
            block=sum_block(variant, range_pixels, ranges),
            ranges=ranges,
            range_pixels=range_pixels,
            parts_size=self.parts_size(shape, ranges),
        )


def forward_tiles(taps: int) -> list[ProductTile]:
    """The candidates. A stage holds enough work to await the next one's weights."""
    ring = (3, 3) if taps >= 3 else (4, 1)
    return [ProductTile(*shape, *ring) for shape in ((2, 4, 2, 4), (2, 4, 4, 2), (2, 4, 2, 2), (2, 4, 1, 4))]


def forward_ranges(shape: ConvolutionShape) -> int:
    """Into which the channels of a full connection are cut that forward sums over.

    Its few neurons make few blocks, which by themselves would take long. It is a matter of the shape alone, not of the
    batch or the GPU, so that the same images get the same spikes in any batch.
    """
    if shape.out_pixels > 1 or shape.out_channels > FEW_CHANNELS:
        return 1
    return max(1, min(parts(shape.in_channels, CHUNK) // FEWEST_RANGE_CHUNKS, MOST_CHANNEL_RANGES))


def group_tiles(taps: int) -> list[ProductTile]:
    """More candidates for forward where a GPU has warpgroups: with a stage more, one whose products still run."""
    ring = (4, 3) if taps >= 3 else (5, 1)
    return [ProductTile(4, 2, *shape, *ring, in_groups=True) for shape in ((1, 8), (2, 4), (1, 4))]


def gradient_tiles(taps: int) -> list[ProductTile]:
    """The candidates for the data gradient, which leaves less room for weights; the last for where no other fits.

    112 pixels are 4 lines of images of 28 pixels: such a block never sees two images, so that its halo is smaller. With
    64 channels and 48 pixels a warp loads less for each product, and a block needs more room than most GPUs have.
    """
    ring = (2, 3) if taps >= 3 else (4, 1)
    shapes = ((2, 8, 4, 2), (2, 8, 2, 4), (2, 8, 2, 2), (2, 7, 2, 2), (4, 6, 2, 4))
    return [*(ProductTile(*shape, *ring) for shape in shapes), ProductTile(2, 4, 2, 2, stages=4, taps=1)]


def strips(kernel: tuple[int, int]) -> int:
    """Of a kernel: neighbours in a row, so many as a warp of a sum over pixels has taps."""
    return kernel[0] * parts(kernel[1], MOST_TAPS)


def halo_of_step(shape: ConvolutionShape) -> tuple[int, bool]:
    """Room for the inputs that a strip sees of a step, in pixels: of two sizes, so that there are few variants. And
    whether two neighbours' are always neighbours, beginning with an even one."""
    taps = min(shape.kernel[1], MOST_TAPS)
    advance, width = min(shape.stride[1], taps), shape.out_size[1]
    # what a line's first pixel sees, and what each one after it sees beyond that
    lines = max((start % width + STEP - 1) // width + 1 for start in range(0, STEP * width, STEP))
    fits = STEP * advance + lines * (taps - advance) <= USUAL_HALO
    paired = advance == 1 and (width % 2 == 0 or taps == 1)
    return min(USUAL_HALO, STEP * taps) if fits else STEP * taps, paired


def sum_tiles(shape: ConvolutionShape) -> list[SumTile]:
    """The candidates for the weight gradient; the last for where no other fits.

    What a block derives of its neurons serves all that it multiplies by them: 64 input channels with three strips.
    Where there are fewer strips, or the halos of three take more room than every GPU has, 128 input channels with one;
    or two rows of warps, which derive twice as many neurons.
    """
    taps, (halo, paired) = min(shape.kernel[1], MOST_TAPS), halo_of_step(shape)
    usual = []
    if taps == MOST_TAPS and strips(shape.kernel) >= 3:
        usual.append(SumTile(1, 8, 1, 3, taps, halo, paired))
    if not usual or halo > USUAL_HALO:
        warps = (1, 8) if shape.in_channels > 64 else (2, 4)
        usual.append(SumTile(*warps, 2, 1, taps, halo, paired))
    each = [replace(tile, blocks_of_multiprocessor=count) for tile in usual for count in BLOCKS_OF_MULTIPROCESSOR]
    return [*each, SumTile(1, 4, 2, 1, taps, halo, paired)]


def fastest(device: Device, candidates: Sequence[Launch], last: Launch) -> Launch:
    """The first that should take the shortest, or hardly longer.

    `last` is for where no other fits: it multiplies little for what it copies, and an estimate of occupancy is not
    sure enough to prefer it.
    """
    usual = [(launch, clocks(device, launch)) for launch in candidates if launch is not last]
    shortest = min((length for _, length in usual), default=math.inf)
    if not math.isfinite(shortest):
        return last
    return next(launch for launch, length in usual if length <= shortest * (1 + UNSURE))


def clocks(device: Device, launch: Launch) -> float:
    """How long a launch should take; infinite where not even one of its blocks fits."""
    gpu, variant = device.gpu, launch.variant
    assert gpu is not None
    resident = 0
    if launch.shared_bytes <= gpu.block_shared_bytes:
        resident = gpu.resident_blocks(variant.threads, device.registers(variant), launch.shared_bytes)
    if not resident:
        return math.inf
    rounds = Rounds.of(launch.blocks, gpu.multiprocessors, resident)
    return max(needs(launch.block, variant.threads, rounds, gpu.rates).values())
