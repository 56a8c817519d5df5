"""Convolution on a GPU's tensor cores, without a patch matrix. Any kernel, stride and padding.

Its kernels are in kernels/cooperative/tensorcore. Forward takes operands split in two halves, which together are nearly
as exact as float32: a network's mask jumps (docs/model.md, "Sensitivity"). Backward takes TF32. How work is cut into
blocks depends on the shapes and on the GPU, unless a variant is named (tensorcore:2); and so do the bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ttfs_cupy.convolution.algorithm import PASSES, SPLIT, VARIANT, Algorithm, Pass
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.tiles import (
    CHUNK,
    FAN,
    IMAGES_OF_EVERY_HALO,
    MOST_RANGES,
    Launch,
    ProductTile,
    Sliding,
    clocks,
    fastest,
    forward_ranges,
    forward_tiles,
    gradient_tiles,
    group_tiles,
    sum_tiles,
)
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Constants, Variant
from ttfs_cupy.device.gpu_limits import WARP, GpuLimits
from ttfs_cupy.device.parts import parts, parts_of_tree
from ttfs_cupy.neuron import Neuron

# As what an earliness of t_win (about) and a weight of 1 are multiplied: neither half of a usual one is subnormal then.
UNIT_BITS = 8
WEIGHT_UNIT = float(2**UNIT_BITS)

# A larger weight counts as this one, the largest half; an earliness does so beyond as many t_win.
LARGEST_WEIGHT = 65504 / WEIGHT_UNIT

# Of sums of a usual length; TF32 has 11 significant bits.
TF32_TOLERANCE = 2e-3
TOLERANCE: dict[Pass, float] = {"forward": 1e-5, "data_gradient": TF32_TOLERANCE, "weight_gradient": TF32_TOLERANCE}

# With fewer channels most of a chunk of 16 is empty.
FEWEST_CHANNELS = 8

# Threads of a block where each of them works alone.
PACKING = Variant("pack_weights", (), 256)
PACKING_FOR_GROUPS = Variant("pack_weights_for_groups", (), 256)

# Floats that a lane's four weights take, packed: two halves for each.
FLOATS_OF_A_LANE = 8


@dataclass(frozen=True)
class TensorCore:
    """Like every Algorithm; raises nothing that `fits` would not have said.

    tile: which of the candidates of tiles.py it takes, where it fits; None for the one that should be fastest.
    """

    device: Device
    shape: ConvolutionShape
    tile: int | None = None
    # How many blocks have written sums, for each node of each tile that is summed in ranges; zeros between launches.
    arrived: Array = field(init=False, compare=False)
    _launches: dict[tuple[object, ...], Launch] = field(init=False, compare=False, default_factory=dict)
    name = "tensorcore"
    joins_pooling = True
    connects = True
    precision = SPLIT
    rank = 2
    tolerance = TOLERANCE
    split = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.shape.flattened())
        if self.tile is not None:
            object.__setattr__(self, "name", f"{self.name}{VARIANT}{self.tile}")
        nodes = parts_of_tree(MOST_RANGES, FAN)
        most = max(tile.tiles(self.shape) for tile in sum_tiles(self.shape))
        object.__setattr__(self, "arrived", self.device.xp.zeros(nodes * most, np.int32))

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        gpu = device.gpu
        if gpu is None or not gpu.has_tensor_cores:
            return f"tensorcore needs a GPU of compute capability 8.0 or higher, which {device.name} is not"
        flat = shape.flattened()
        needed = max(min(_shared_bytes(flat, which, gpu, pooled=min(flat.out_size) >= 2)) for which in PASSES)
        if needed > gpu.block_shared_bytes:
            return (
                f"tensorcore needs {needed >> 10} KiB of shared memory for a kernel of {shape.kernel} at stride "
                f"{shape.stride}, and {device.name} has {gpu.block_shared_bytes >> 10}"
            )
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return shape.flattened().in_channels >= FEWEST_CHANNELS

    def variants(self, which: Pass) -> dict[int, Algorithm]:
        gpu = self.device.gpu
        assert gpu is not None
        needed = _shared_bytes(self.shape, which, gpu, pooled=False)
        numbers = [number for number, each in enumerate(needed) if each <= gpu.block_shared_bytes]
        return {number: type(self)(self.device, self.shape, number) for number in numbers}

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        if which == "forward":
            sliding = Sliding.forward(self.shape, pooled=pooled)
            candidates = self._forward_candidates(sliding, batch_size, int(has_weight_sum))
            weighed = self._weighed(candidates)
            if neuron.potential is not None:
                weighed += self._weighed([launch.with_constants(INITIAL=1) for launch in candidates])
            groups = any(variant.needs_warpgroups for variant in weighed)
            return [*weighed, PACKING, *([PACKING_FOR_GROUPS] if groups else [])]
        kind = _kind(neuron, pooled=pooled)
        if which == "data_gradient":
            return self._weighed(self._gradient_candidates(Sliding.backward(self.shape), batch_size, kind))
        candidates = self._sum_candidates(batch_size)
        launched = [launch.with_constants(HAS_SUM=int(has_weight_sum), **dict(kind)) for launch in candidates]
        return [*self._weighed(candidates), *self._weighed(launched)]

    def workspace(self, batch_size: int, which: Pass) -> int:
        if which == "forward":
            return self._packed_weights + self._forward_parts(batch_size)
        if which == "data_gradient":
            return 0
        # a smaller batch may be cut otherwise, but into no more ranges than this
        shape, gpu = self.shape, self.device.gpu
        assert gpu is not None
        return max(tile.parts_size(shape, tile.most_ranges(shape, batch_size, gpu)) for tile in sum_tiles(shape))

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a block of neurons by one reading of its inputs, then the neurons' rule, and pooling."""
        shape, packed = self.shape, workspace[: self._packed_weights]
        sliding = Sliding.forward(shape, pooled=out.winner is not None)
        launch = self._forward_launch(sliding, len(images), int(neuron.needs_weight_sum))
        if neuron.potential is not None:
            launch = launch.with_constants(INITIAL=1)

        packing = PACKING_FOR_GROUPS if launch.variant.needs_warpgroups else PACKING
        sizes = (shape.taps, shape.in_channels, shape.out_channels)
        blocks = parts(self._packed_weights // FLOATS_OF_A_LANE, packing.threads)
        self.device.launch_blocks(packing, blocks, 0, weights, WEIGHT_UNIT, packed, *sizes)
        parts_of_sum = workspace[self._packed_weights :][: launch.parts_size] if launch.ranges > 1 else None

        unit = 2.0 ** (UNIT_BITS - math.ceil(math.log2(neuron.rule[2])))
        self._launch(
            launch,
            *(images, packed, *neuron.rule, int(neuron.fires), unit, WEIGHT_UNIT),
            *(out.output, out.weight_sum, out.winner),
            *(sliding.pixels(len(images)), shape.out_channels, launch.halo_pixels),
            *(*shape.in_size, shape.in_channels, *shape.kernel, *shape.stride, *shape.padding, *shape.out_size),
            *(parts_of_sum, self.arrived, launch.ranges, launch.range_chunks),
        )

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """The convolution of dLoss/dA, formed as it enters, with the turned kernel."""
        shape, sliding = self.shape, Sliding.backward(self.shape)
        launch = self._gradient_launch(sliding, len(grad_images), _kind_of(outgoing))
        self._launch(
            launch,
            *(*self._outgoing(outgoing), weights, grad_images),
            *(sliding.pixels(len(grad_images)), launch.halo_pixels),
            *(*shape.out_size, shape.out_channels, *shape.kernel, *shape.stride, *shape.padding),
            *(*shape.in_size, shape.in_channels),
        )

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """For each tap the product of inputs and gradients, summed over ranges of pixels, and these in their order."""
        shape = self.shape
        launch = self._sum_launch(len(images))
        launch = launch.with_constants(HAS_SUM=int(outgoing.neuron.needs_weight_sum), **dict(_kind_of(outgoing)))
        parts_of_sum = workspace[: launch.parts_size] if launch.ranges > 1 else None
        self._launch(
            launch,
            *(images, *self._outgoing(outgoing), grad_weights, parts_of_sum, self.arrived),
            *(launch.ranges, launch.range_pixels, len(images) * shape.out_pixels),
            *(*shape.in_size, shape.in_channels, *shape.kernel, *shape.stride, *shape.padding),
            *(*shape.out_size, shape.out_channels),
        )

    def _launch(self, launch: Launch, *arguments: object) -> None:
        self.device.launch_blocks(launch.variant, launch.blocks, launch.shared_bytes, *arguments)

    @staticmethod
    def _outgoing(outgoing: OutgoingGradient) -> tuple[object, ...]:
        neuron, out = outgoing.neuron, outgoing.out
        weight_sum = out.weight_sum if neuron.needs_weight_sum else None
        *rule, _ = neuron.derivative
        return outgoing.grad, out.output, weight_sum, out.winner, *rule

    @property
    def _packed_weights(self) -> int:
        """Floats."""
        shape = self.shape
        fragments = parts(shape.in_channels, CHUNK) * shape.taps * parts(shape.out_channels, CHUNK)
        return fragments * WARP * FLOATS_OF_A_LANE

    def _forward_parts(self, batch_size: int) -> int:
        """Floats of forward's ranges of channels, at most."""
        shape, sliding, gpu = self.shape, Sliding.forward(self.shape), self.device.gpu
        assert gpu is not None
        ranges = forward_ranges(shape)
        return max(
            tile.parts_size(sliding, batch_size, shape.out_channels, ranges) for tile in _forward_tiles(shape, gpu)
        )

    # How the work is cut into blocks

    def _forward_launch(self, sliding: Sliding, batch_size: int, has_weight_sum: int) -> Launch:
        last = len(forward_tiles(self.shape.taps)) - 1
        key = ("forward", sliding, batch_size, has_weight_sum)
        return self._chosen(key, lambda: self._forward_candidates(sliding, batch_size, has_weight_sum), last)

    def _gradient_launch(self, sliding: Sliding, batch_size: int, kind: Constants) -> Launch:
        key = ("data_gradient", sliding, batch_size, kind)
        return self._chosen(key, lambda: self._gradient_candidates(sliding, batch_size, kind))

    def _sum_launch(self, batch_size: int) -> Launch:
        """The same for whatever kind of neurons, with and without the mask: the workspace depends on it."""
        return self._chosen(("weight_gradient", batch_size), lambda: self._sum_candidates(batch_size))

    def _forward_candidates(self, sliding: Sliding, batch_size: int, has_weight_sum: int) -> list[Launch]:
        shape, gpu = self.shape, self.device.gpu
        assert gpu is not None
        options = (("HAS_SUM", has_weight_sum), ("SPLIT", int(self.split)), ("VECTOR", _vector(sliding.channels)))
        ranges = forward_ranges(shape)

        def of(tile: ProductTile) -> Launch:
            # of a batch that is larger than any, there are too few counters
            counters = parts_of_tree(ranges, FAN) * tile.blocks(sliding, batch_size, shape.out_channels)
            own = ranges if counters <= len(self.arrived) else 1
            kind = (("GROUPS", int(tile.in_groups)), *options, ("RANGED", int(own > 1)), ("FAN", FAN))
            return tile.launch("tensorcore_forward", kind, sliding, batch_size, shape.out_channels, ranges=own)

        return [of(tile) for tile in _forward_tiles(shape, gpu)]

    def _gradient_candidates(self, sliding: Sliding, batch_size: int, kind: Constants) -> list[Launch]:
        options = (("VECTOR", _vector(sliding.channels)), *kind)
        given = ("tensorcore_data_gradient", options, sliding, batch_size, self.shape.in_channels)
        return [tile.launch(*given, staged=True) for tile in gradient_tiles(sliding.taps)]

    def _sum_candidates(self, batch_size: int) -> list[Launch]:
        """Of the neurons that take most."""
        shape, gpu = self.shape, self.device.gpu
        assert gpu is not None
        vector = ("VECTOR", _vector(math.gcd(shape.in_channels, shape.out_channels)))
        greediest = (vector, ("HAS_SUM", 1), ("FIRES", 1), ("POOLED", 1), ("SEPARATE", 0))
        given = ("tensorcore_weight_gradient", greediest, shape, batch_size, gpu)
        return [tile.launch(*given) for tile in sum_tiles(shape)]

    def _chosen(self, key: tuple[object, ...], candidates: Callable[[], list[Launch]], last: int = -1) -> Launch:
        """Chosen once: every further pass of that kind is launched in the same way."""
        if key not in self._launches:
            found = candidates()
            self._launches[key] = self._choose(found, found[last])
        return self._launches[key]

    def _weighed(self, candidates: list[Launch]) -> list[Variant]:
        """Those that have room, among which one is chosen; of a tile that was named, that one alone if it has."""
        gpu = self.device.gpu
        assert gpu is not None
        named = [] if self.tile is None else [candidates[self.tile]]
        room = gpu.block_shared_bytes
        fitting = [[launch.variant for launch in some if launch.shared_bytes <= room] for some in (named, candidates)]
        return fitting[0] or fitting[1]

    def _choose(self, candidates: list[Launch], last: Launch) -> Launch:
        # a tile that fits may need too much where pooling is joined
        if self.tile is not None and math.isfinite(clocks(self.device, candidates[self.tile])):
            return candidates[self.tile]
        return fastest(self.device, candidates, last)


def _forward_tiles(shape: ConvolutionShape, gpu: GpuLimits) -> list[ProductTile]:
    return [*forward_tiles(shape.taps), *(group_tiles(shape.taps) if gpu.has_warpgroups else ())]


def _shared_bytes(shape: ConvolutionShape, which: Pass, gpu: GpuLimits, *, pooled: bool) -> list[int]:
    """What a block of each candidate needs at most, with whatever batch, and with joined pooling or without."""
    many = IMAGES_OF_EVERY_HALO
    if which == "forward":
        slidings = [Sliding.forward(shape, pooled=also) for also in {False, pooled}]
        return [max(tile.shared_bytes(one, many) for one in slidings) for tile in _forward_tiles(shape, gpu)]
    if which == "data_gradient":
        sliding = Sliding.backward(shape)
        return [tile.shared_bytes(sliding, many, staged=True, pooled=pooled) for tile in gradient_tiles(shape.taps)]
    return [tile.shared_bytes for tile in sum_tiles(shape)]


def _kind(neuron: Neuron, *, pooled: bool) -> Constants:
    """Of the neurons, which a kernel's variant is compiled for."""
    return (("FIRES", int(neuron.fires)), ("POOLED", int(pooled)), ("SEPARATE", neuron.derivative[-1]))


def _kind_of(outgoing: OutgoingGradient) -> Constants:
    return _kind(outgoing.neuron, pooled=outgoing.out.winner is not None)


def _vector(channels: int) -> int:
    """How many channels at a time can be copied, of pixels that have so many."""
    return 4 if channels % 4 == 0 else 1


ALGORITHM = TensorCore
