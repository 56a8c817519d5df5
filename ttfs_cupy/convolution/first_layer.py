"""Convolution on a GPU for patches of few values, such as a first layer's of one or three channels, as
direct.py is on a CPU; by kernels/cooperative/first_layer. Any kernel, stride and padding; all of it in float32.

The order in which a gradient is summed depends on the shapes and on the GPU, and so do its bits. The data gradient,
which a first layer never needs, is left to `gemm`.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ttfs_cupy.convolution.algorithm import FLOAT32, PASSES, Algorithm, Pass
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.scratch import Scratch
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Constants, Variant
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.parts import parts, parts_of_tree
from ttfs_cupy.neuron import Neuron

# 3x3 of 3 channels: a thread of the weight gradient keeps as many sums of 4 channels, and has no registers for more.
MOST_PATCH_VALUES = 27

FLOAT_BYTES = 4
CHANNELS_OF_A_THREAD = 4
MOST_CHANNELS_OF_A_BLOCK = CHANNELS_OF_A_THREAD * WARP

# Of a tile; more only where a single window sees more.
MOST_HALO_BYTES = 16 << 10

# As in first_layer_weight_gradient.cu: of how many of a patch's values threads leave sums at a time
PLACES_AT_ONCE = 6

# How many blocks' parts of a sum are added by one.
FAN = 12


@dataclass(frozen=True)
class Work:
    """How a pass divides its work among the threads of a block.

    window_turns: a thread's turns for a 2x2 window of pixels. most_turns: for a tile, so that there are many blocks to
    share out. start: turns that reading a tile's halo costs.
    """

    threads: int
    window_turns: int
    most_turns: int
    start: float


FORWARD = Work(threads=256, window_turns=1, most_turns=4, start=0.5)
WEIGHT_GRADIENT = Work(threads=384, window_turns=4, most_turns=32, start=4)

# What they leave, in shared memory.
LEFT_BYTES = FLOAT_BYTES * CHANNELS_OF_A_THREAD * PLACES_AT_ONCE * WEIGHT_GRADIENT.threads


@dataclass(frozen=True)
class Tiles:
    """An image's pixels, cut into rectangles: how many down and across, their size in 2x2 windows, their halo."""

    down: int
    across: int
    height: int
    width: int
    halo_rows: int
    halo_pitch: int

    @property
    def count(self) -> int:
        return self.down * self.across

    @property
    def halo_bytes(self) -> int:
        return FLOAT_BYTES * self.halo_rows * self.halo_pitch

    @property
    def arguments(self) -> tuple[int, ...]:
        return self.down, self.across, 2 * self.height, 2 * self.width, self.halo_pitch

    @classmethod
    def of(cls, shape: ConvolutionShape, height: int, width: int) -> "Tiles":
        """height, width: of a tile, in windows. What a window sees of a line counts in whole pairs of floats."""
        windows_down, windows_across = (parts(size, 2) for size in shape.out_size)
        seen = (shape.stride[1] + shape.kernel[1]) * shape.in_channels
        return cls(
            *(parts(windows_down, height), parts(windows_across, width), height, width),
            halo_rows=(2 * height - 1) * shape.stride[0] + shape.kernel[0],
            halo_pitch=2 * (width - 1) * shape.stride[1] * shape.in_channels + 2 * parts(seen, 2),
        )

    @classmethod
    @lru_cache(maxsize=1024)
    def fastest(cls, shape: ConvolutionShape, work: Work, lanes: int) -> "Tiles":
        """With the fewest turns for an image."""
        at_once = work.threads // lanes

        def turns(tiles: Tiles) -> int:
            return parts(tiles.height * tiles.width * work.window_turns, at_once)

        heights, widths = ({parts(size, n) for n in range(1, size + 1)} for size in _windows(shape))
        candidates = [cls.of(shape, height, width) for height in sorted(heights) for width in sorted(widths)]
        small = [one for one in candidates if one.halo_bytes <= MOST_HALO_BYTES and turns(one) <= work.most_turns]
        return min(small or candidates[:1], key=lambda one: one.count * (turns(one) + work.start))


def _windows(shape: ConvolutionShape) -> tuple[int, int]:
    height, width = shape.out_size
    return parts(height, 2), parts(width, 2)


@dataclass(frozen=True)
class _OfWindows(OutgoingGradient):
    """Of a pooled layer, as if pooling stood apart: to_drive goes to the neurons that won, of all `size`."""

    device: Device
    size: tuple[int, int]
    scratch: Array

    @property
    def rows(self) -> int:
        return len(self.grad) * self.size[0] * self.size[1]

    def to_drive(
        self, grad_drive: Array, grad_sum: Array | None = None, first: int = 0, last: int | None = None
    ) -> None:
        assert grad_sum is None and first == 0 and last is None
        channels = self.grad.shape[-1]
        of_windows = self.scratch[: self.grad.size].reshape(-1, channels)
        super().to_drive(of_windows)
        sizes = (*self.size, *self.grad.shape[1:3], 2, 2, 2, 2)
        arguments = (of_windows, self.out.winner, grad_drive, self.rows, channels)
        self.device.launch("earliest_spike_gradient", grad_drive.size, *arguments, *sizes)


@dataclass(frozen=True)
class FirstLayer:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    # How many blocks have written their parts of a sum, for each that adds some; zeros between two launches.
    arrived: Array = field(init=False, compare=False)
    name = "first_layer"
    joins_pooling = True
    connects = False
    precision = FLOAT32
    rank = 5
    tolerance = dict.fromkeys(PASSES, 1e-5)

    def __post_init__(self) -> None:
        most = self._channel_blocks * parts_of_tree(self._most_ranges, FAN)
        object.__setattr__(self, "arrived", self.device.xp.zeros(most, np.int32))

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        if device.gpu is None:
            return f"first_layer needs a GPU, which {device.name} is not"
        if shape.patch_size > MOST_PATCH_VALUES:
            return f"first_layer is for patches of up to {MOST_PATCH_VALUES} values, not {shape.patch_size}"
        needed = Tiles.of(shape, 1, 1).halo_bytes + _weight_bytes(shape)
        if needed > device.gpu.block_shared_bytes:
            return (
                f"first_layer needs {needed >> 10} KiB of shared memory at stride {shape.stride}, and "
                f"{device.name} has {device.gpu.block_shared_bytes >> 10}"
            )
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return True

    def variants(self, which: Pass) -> dict[int, Algorithm]:
        return {}

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        if which == "forward":
            return [self._forward_variant(neuron, has_weight_sum=has_weight_sum, pooled=pooled)]
        return (
            [self._gradient_variant(neuron, has_weight_sum=has_weight_sum, pooled=pooled)]
            if which == "weight_gradient"
            else []
        )

    def workspace(self, batch_size: int, which: Pass) -> int:
        shape = self.shape
        if which == "forward":
            return 0
        if which == "data_gradient":
            windows = shape.out_size[0] // 2 * (shape.out_size[1] // 2) * shape.out_channels
            return batch_size * windows + Gemm(self.device, shape).workspace(batch_size, which)
        # a smaller batch may be cut into more ranges, but into no more than this
        ranges = min(self._most_ranges, batch_size * Tiles.fastest(shape, WEIGHT_GRADIENT, self._lanes).count)
        return parts_of_tree(ranges, FAN) * shape.patch_size * CHANNELS_OF_A_THREAD * self._lanes * self._channel_blocks

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a tile's neurons by one reading of its pixels, then the neurons' rule, and pooling."""
        tiles = Tiles.fastest(self.shape, FORWARD, self._lanes)
        has_weight_sum, pooled = neuron.needs_weight_sum, out.winner is not None
        variant = self._forward_variant(neuron, has_weight_sum=has_weight_sum, pooled=pooled)
        self.device.launch_blocks(
            variant,
            *(len(images) * tiles.count * self._channel_blocks, _weight_bytes(self.shape) + tiles.halo_bytes),
            *(images, weights, *neuron.rule, out.output, out.weight_sum, out.winner),
            *(self.shape.out_channels, self._lanes, *tiles.arguments, *self._sizes),
        )

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """As gemm does it, which knows nothing of pooling."""
        scratch = Scratch(workspace)
        if outgoing.out.winner is not None:
            windows = scratch.array(outgoing.grad.size)
            parts_of_it = (outgoing.neuron, outgoing.grad, outgoing.out)
            outgoing = _OfWindows(*parts_of_it, self.device, self.shape.out_size, windows)
        Gemm(self.device, self.shape).data_gradient(outgoing, weights, grad_images, workspace[scratch.used :])

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Summed over ranges of tiles, and these in a tree, whose nodes the last blocks to come add."""
        neuron, out, batch_size = outgoing.neuron, outgoing.out, len(images)
        *rule, _ = neuron.derivative
        tiles = Tiles.fastest(self.shape, WEIGHT_GRADIENT, self._lanes)
        ranges, range_tiles = self._ranges(batch_size)
        has_weight_sum, pooled = neuron.needs_weight_sum, out.winner is not None
        variant = self._gradient_variant(neuron, has_weight_sum=has_weight_sum, pooled=pooled)
        self.device.launch_blocks(
            variant,
            *(ranges * self._channel_blocks, max(tiles.halo_bytes, LEFT_BYTES + self._part_bytes)),
            *(
                images,
                outgoing.grad,
                out.output,
                out.weight_sum if has_weight_sum else None,
                out.winner,
                *rule,
            ),
            *(grad_weights, workspace, self.arrived, parts_of_tree(ranges, FAN)),
            *(ranges, range_tiles, batch_size * tiles.count),
            *(self.shape.out_channels, self._lanes, *tiles.arguments, *self._sizes),
        )

    def _forward_variant(self, neuron: Neuron, *, has_weight_sum: bool, pooled: bool) -> Variant:
        more = {} if neuron.potential is None else {"INITIAL": 1}
        return self._variant("first_layer_forward", FORWARD, neuron, has_weight_sum, pooled, **more)

    def _gradient_variant(self, neuron: Neuron, *, has_weight_sum: bool, pooled: bool) -> Variant:
        more = {"SEPARATE": int(neuron.derivative[-1]), "FAN": FAN}
        return self._variant("first_layer_weight_gradient", WEIGHT_GRADIENT, neuron, has_weight_sum, pooled, **more)

    def _variant(
        self, kernel: str, work: Work, neuron: Neuron, has_weight_sum: bool, pooled: bool, **more: int
    ) -> Variant:
        shape = self.shape
        constants: Constants = (
            *(("CHANNELS", shape.in_channels), ("KERNEL_H", shape.kernel[0]), ("KERNEL_W", shape.kernel[1])),
            *(("STRIDE_H", shape.stride[0]), ("STRIDE_W", shape.stride[1]), ("THREADS", work.threads)),
            *(("HAS_SUM", int(has_weight_sum)), ("FIRES", int(neuron.fires))),
            *(("POOLED", int(pooled)), ("VECTOR", 4 if shape.out_channels % 4 == 0 else 1)),
            *more.items(),
        )
        return Variant(kernel, constants, work.threads)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return *self.shape.in_size, *self.shape.padding, *self.shape.out_size

    # How the work is cut into blocks

    @property
    def _channel_blocks(self) -> int:
        return parts(self.shape.out_channels, MOST_CHANNELS_OF_A_BLOCK)

    @property
    def _lanes(self) -> int:
        """Threads of a block that together have its channels."""
        return parts(parts(self.shape.out_channels, CHANNELS_OF_A_THREAD), self._channel_blocks)

    @property
    def _part_bytes(self) -> int:
        return FLOAT_BYTES * self.shape.patch_size * CHANNELS_OF_A_THREAD * self._lanes

    @property
    def _most_ranges(self) -> int:
        """A multiprocessor has room for one block that sums."""
        assert self.device.gpu is not None
        return max(1, self.device.gpu.multiprocessors // self._channel_blocks)

    def _ranges(self, batch_size: int) -> tuple[int, int]:
        """How many ranges a batch's tiles are summed in, and how many tiles each has."""
        count = batch_size * Tiles.fastest(self.shape, WEIGHT_GRADIENT, self._lanes).count
        range_tiles = parts(count, self._most_ranges)
        return parts(count, range_tiles), range_tiles


def _weight_bytes(shape: ConvolutionShape) -> int:
    """In shared memory, of a block of the forward pass."""
    return FLOAT_BYTES * shape.patch_size * MOST_CHANNELS_OF_A_BLOCK


ALGORITHM = FirstLayer
