"""What a block of the first layer's kernels (kernels/cooperative/first_layer) asks of a multiprocessor, and how
long that takes: an estimate, as convolution/tensorcore/costs.py has it for the kernels on tensor cores.

Whatever is busy longest decides: the lanes that compute in float32 (FFMA), the schedulers, shared memory, the L2; or,
in the weight gradient, the loads that each warp waits for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ttfs_cupy.convolution.first_layer import (
    CHANNELS_OF_A_THREAD,
    FLOAT_BYTES,
    LEFT_BYTES,
    MOST_CHANNELS_OF_A_BLOCK,
    PLACES_AT_ONCE,
)
from ttfs_cupy.convolution.tensorcore.costs import (
    COSTS,
    ISSUE,
    L2,
    SCHEDULERS,
    SHARED_BYTES_A_CLOCK,
    SHARED_MEMORY,
    WAVES_OF_16,
    Costs,
    Rounds,
    said,
)
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.parts import parts

FORWARD, WEIGHT_GRADIENT = "first_layer_forward", "first_layer_weight_gradient"
KERNELS = (FORWARD, WEIGHT_GRADIENT)
FFMA, LATENCY = "FFMA", "latency"

WINDOW_PIXELS = 4
# Two for each weight: of A and S, or of dLoss/dA and dLoss/dS.
PRODUCTS = 2
# What the weight gradient's last blocks load at once, of the parts that they add (#pragma unroll); the rest one by one.
UNROLLED_PARTS = 8


@dataclass(frozen=True)
class FirstLayerCosts:
    """Instructions are a warp's, counted in the assembler's output for sm_75 to sm_90, of spiking neurons with S; the
    rare ends of a division are among them. A test counts the main loops again. Those in clocks, and shares, are
    estimates. Products, masks and loads of a patch's values are counted by the patch's size, not here."""

    first_window: float = said(550, "instructions of a 2x2 window of first_layer_forward, besides its patches")
    first_window_ffma: float = said(165, "of them, by the lanes of FFMA: FADD, FMUL, IMAD")
    first_start: float = said(250, "of a warp of it, before its first window, besides weights and pixels")
    first_weights: float = said(16, "to copy a weight for each thread")
    first_row: float = said(35, "to copy a row of a tile's pixels, either kernel")
    first_row_piece: float = said(10, "the same in addition for every 32 values")
    first_pixel: float = said(112, "of a pixel of first_layer_weight_gradient, besides its patch")
    first_pixel_pooled: float = said(34, "the same in addition where pooling is joined")
    first_pixel_ffma: float = said(43, "of these, by the lanes of FFMA")
    first_tile: float = said(180, "of a tile of it, besides its pixels")
    first_rate: float = said(0.85, "of FFMA's lanes and of the schedulers, at best; cuBLAS reaches as much")
    first_tile_wait: float = said(1500, "clocks in which a tile of the weight gradient begins, nothing being added")
    first_load: float = said(700, "clocks until a neuron's gradient, x and S arrive from memory")
    first_ahead: float = said(0.85, "of a pixel's clocks that the next one's loads take place in, for sm_90; else none")
    first_add: float = said(12, "clocks to add a sum from shared memory: some are on their way at a time")
    first_round: float = said(150, "clocks of barriers and of waiting, whenever threads leave sums in shared memory")
    first_level: float = said(5, "loads from the L2 that the start of a level of the weight gradient's tree is worth")


FIRST_LAYER_COSTS = FirstLayerCosts()


@dataclass(frozen=True)
class FirstLayerBlock:
    """What one block asks for. macs: multiply-adds of products. instructions: of all its warps; ffma: those of them
    that FFMA's lanes do. waves: accesses to shared memory of 128 bytes. l2_bytes. waiting: clocks in which it adds
    nothing, though other blocks may. serial: clocks at its end. loads: turns of a warp that wait for memory first."""

    macs: int
    instructions: float
    ffma: float
    waves: float
    l2_bytes: float
    waiting: float
    serial: float = 0.0
    loads: int = 0


def block_of(
    variant: Variant,
    values: Mapping[str, float],
    costs: FirstLayerCosts = FIRST_LAYER_COSTS,
    general: Costs = COSTS,
) -> FirstLayerBlock:
    """Of spiking neurons with S. values: the launch's scalars by name. general: what holds of every kernel."""
    launch = _Launch(variant, {name: int(value) for name, value in values.items()})
    of = _forward if variant.kernel == FORWARD else _weight_gradient
    return of(launch, costs, general)


def needs(
    block: FirstLayerBlock,
    threads: int,
    rounds: Rounds,
    lanes: float,
    l2_bytes: float,
    *,
    loads_ahead: bool,
    costs: FirstLayerCosts = FIRST_LAYER_COSTS,
    general: Costs = COSTS,
) -> dict[str, float]:
    """Clocks of a launch that each resource would need by itself; the longest is what it takes.

    lanes, l2_bytes: of a multiprocessor, a clock. loads_ahead: whether the compiler left the weight gradient's loads
    where the kernel has them, a pixel ahead.
    """
    warps = threads // WARP
    speed = general.speed(rounds.at_a_time * warps) * costs.first_rate
    of_block = {
        FFMA: block.ffma * WARP / lanes / speed,
        ISSUE: block.instructions / SCHEDULERS / speed,
        SHARED_MEMORY: block.waves / speed,
    }
    if block.loads:
        # a warp's clocks where it has a scheduler, and a quarter of the lanes, for itself
        alone = max(of_block[FFMA], of_block[ISSUE]) * SCHEDULERS / warps
        hidden = costs.first_ahead * alone if loads_ahead else 0.0
        # beside one another, blocks wait at the same time
        of_block[LATENCY] = (alone + max(0.0, block.loads * costs.first_load - hidden)) / rounds.at_a_time
    waiting = block.waiting * rounds.turns / rounds.at_a_time + block.serial
    found = {name: rounds.turns * clocks + waiting for name, clocks in of_block.items()}
    return {**found, L2: rounds.share * block.l2_bytes / l2_bytes}


def window_instructions(constants: Mapping[str, int], costs: FirstLayerCosts = FIRST_LAYER_COSTS) -> float:
    """Of a turn of first_layer_forward's main loop: a window's pixels for 4 channels."""
    masks = 2 * _pairs(constants)
    return costs.first_window + window_products(constants) + _patch(constants) + _pairs(constants) + masks


def window_products(constants: Mapping[str, int]) -> int:
    return PRODUCTS * WINDOW_PIXELS * CHANNELS_OF_A_THREAD * _patch(constants)


def pixel_instructions(constants: Mapping[str, int], costs: FirstLayerCosts = FIRST_LAYER_COSTS) -> float:
    """Of a turn of first_layer_weight_gradient's main loop: a pixel for 4 channels. A value is loaded and masked."""
    own = costs.first_pixel + costs.first_pixel_pooled * constants["POOLED"]
    return own + pixel_products(constants) + 2 * _patch(constants)


def pixel_products(constants: Mapping[str, int]) -> int:
    return PRODUCTS * CHANNELS_OF_A_THREAD * _patch(constants)


@dataclass(frozen=True)
class _Launch:
    variant: Variant
    values: Mapping[str, int]

    @property
    def constants(self) -> dict[str, int]:
        return dict(self.variant.constants)

    @property
    def warps(self) -> int:
        return self.variant.threads // WARP

    @property
    def channels(self) -> int:
        """Of a block."""
        return CHANNELS_OF_A_THREAD * self.values["lanes"]

    @property
    def at_once(self) -> int:
        """Pixels, or windows, that the block's threads have."""
        return self.variant.threads // self.values["lanes"]

    @property
    def pixels(self) -> int:
        """Of a tile."""
        return self.values["tile_height"] * self.values["tile_width"]

    @property
    def halo_rows(self) -> int:
        return (self.values["tile_height"] - 1) * self.constants["STRIDE_H"] + self.constants["KERNEL_H"]

    @property
    def halo_bytes(self) -> int:
        return FLOAT_BYTES * self.halo_rows * self.values["halo_pitch"]

    def halo_instructions(self, costs: FirstLayerCosts) -> float:
        """Of a warp, which copies every so many rows."""
        pieces = parts(self.values["halo_pitch"], WARP)
        return parts(self.halo_rows, self.warps) * (costs.first_row + pieces * costs.first_row_piece)


def _forward(launch: _Launch, costs: FirstLayerCosts, general: Costs) -> FirstLayerBlock:
    constants, patch = launch.constants, _patch(launch.constants)
    turns = parts(launch.pixels // WINDOW_PIXELS, launch.at_once)
    start = costs.first_start + launch.halo_instructions(costs)
    start += parts(patch * MOST_CHANNELS_OF_A_BLOCK, launch.variant.threads) * costs.first_weights
    # x and S of what is left of a window, and a byte if that is one neuron
    out = (2 * FLOAT_BYTES + 1) / WINDOW_PIXELS if constants["POOLED"] else 2 * FLOAT_BYTES
    return FirstLayerBlock(
        macs=PRODUCTS * launch.pixels * launch.channels * patch,
        instructions=launch.warps * (turns * window_instructions(constants, costs) + start),
        ffma=launch.warps * turns * (window_products(constants) + costs.first_window_ffma),
        # a warp's lanes read 4 weights each, and nearly all of them the same pixels
        waves=launch.warps * turns * (WAVES_OF_16 * patch + _pairs(constants)),
        l2_bytes=FLOAT_BYTES * patch * launch.channels + launch.halo_bytes + launch.pixels * launch.channels * out,
        waiting=general.of_block,
    )


def _weight_gradient(launch: _Launch, costs: FirstLayerCosts, general: Costs) -> FirstLayerBlock:
    constants, patch, tiles = launch.constants, _patch(launch.constants), launch.values["range_tiles"]
    turns = tiles * parts(launch.pixels, launch.at_once)
    of_tiles = tiles * (costs.first_tile + launch.halo_instructions(costs))
    # dLoss/dx, x and S, whether of the pixel or of its window
    neuron = 3 * FLOAT_BYTES + constants["POOLED"]
    adding = _adding(launch, costs)
    tree = _tree_loads(launch, costs) * general.of_load
    return FirstLayerBlock(
        macs=PRODUCTS * tiles * launch.pixels * launch.channels * patch,
        instructions=launch.warps * (turns * pixel_instructions(constants, costs) + of_tiles),
        ffma=launch.warps * turns * (pixel_products(constants) + costs.first_pixel_ffma),
        waves=launch.warps * turns * patch + tiles * launch.halo_bytes / SHARED_BYTES_A_CLOCK,
        l2_bytes=tiles * (launch.pixels * launch.channels * neuron + launch.halo_bytes),
        waiting=general.of_block + tiles * costs.first_tile_wait,
        serial=adding + tree,
        loads=turns,
    )


def _adding(launch: _Launch, costs: FirstLayerCosts) -> float:
    """Clocks in which a block adds its threads' sums: they are written and read, and a column's added in two steps."""
    rounds = parts(_patch(launch.constants), PLACES_AT_ONCE)
    runs = launch.variant.threads // (min(PLACES_AT_ONCE, _patch(launch.constants)) * launch.values["lanes"])
    in_a_row = parts(launch.at_once, runs) + runs
    return rounds * (2 * LEFT_BYTES / SHARED_BYTES_A_CLOCK + costs.first_round + in_a_row * costs.first_add)


def _tree_loads(launch: _Launch, costs: FirstLayerCosts) -> float:
    """Loads from the L2 that follow one another on the way from the ranges' parts to their sum."""
    fan, ranges, loads = launch.constants["FAN"], launch.values["ranges"], 0.0
    turns = parts(_patch(launch.constants) * launch.values["lanes"], launch.variant.threads)
    while ranges > 1:
        together, alone = divmod(min(fan, ranges), UNROLLED_PARTS)
        loads += costs.first_level + turns * (together + alone)
        ranges = parts(ranges, fan)
    return loads


def _patch(constants: Mapping[str, int]) -> int:
    """Values that a pixel sees."""
    return constants["KERNEL_H"] * constants["KERNEL_W"] * constants["CHANNELS"]


def _pairs(constants: Mapping[str, int]) -> int:
    """Of values that a window sees, as they are loaded."""
    across = (constants["STRIDE_W"] + constants["KERNEL_W"]) * constants["CHANNELS"]
    return (constants["STRIDE_H"] + constants["KERNEL_H"]) * parts(across, 2)
