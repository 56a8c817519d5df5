"""What a block of the kernels on tensor cores asks of a multiprocessor, and how long that takes: an estimate.

Whatever is busy longest decides: tensor cores, the schedulers (an instruction of a warp a clock each), shared memory
(128 bytes a clock) or the L2. It is for choosing tiles, and for predictions (ttfs_cupy.benchmarks.gpu_model).
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import WARP, GpuRates
from ttfs_cupy.device.parts import parts

CHUNK = 16
# Pieces of a chunk of a pixel's channels; bytes of a piece, and of a chunk of an output channel's weights.
CHUNK_PIECES, PIECE_BYTES, WEIGHT_BYTES = 4, 16, 64
SCHEDULERS = 4
SHARED_BYTES_A_CLOCK = 128
# Accesses to shared memory of a warp that reads 16 bytes a lane.
WAVES_OF_16 = 4
# The right factor of a warpgroup's product, which lies in shared memory.
GROUP_FACTOR_BYTES = 2048
# Pixels of a step of a sum over pixels.
STEP = 16

TENSOR_CORES, ISSUE, SHARED_MEMORY, L2 = "tensor cores", "issue", "shared memory", "L2"


def said(value: float, meaning: str) -> float:
    """A field of a dataclass, with what it means for who prints it."""
    # dataclasses.field returns what its argument is, as far as types are concerned
    result: float = dataclasses.field(default=value, metadata={"meaning": meaning})
    return result


@dataclass(frozen=True)
class Costs:
    """Instructions are a warp's, counted in the assembler's output for sm_80 (disassembly.py); those for sm_90
    are up to a tenth more. A test counts the main loops again. What begins with `of_` is an estimate, no count."""

    forward_stage: float = said(38, "instructions of a stage of tensorcore_forward, besides its taps")
    forward_tap: float = said(9, "of a tap of it, besides products and copies")
    forward_mask: float = said(2, "to form the mask of a fragment of 8 pixels")
    forward_weights: float = said(9, "to copy a piece of its weights")
    forward_piece: float = said(63, "to copy and convert a piece of its halo: 4 channels of a pixel")
    forward_chunk: float = said(150, "of a chunk of 16 channels, besides: sums are added up")
    group_stage: float = said(51, "instructions of a stage of tensorcore_forward by warpgroups, besides its taps")
    group_tap: float = said(17, "of a tap of it, besides products and copies")
    group_product: float = said(5, "to start a product of it")
    gradient_stage: float = said(34, "of a stage of tensorcore_data_gradient, besides its taps")
    gradient_tap: float = said(48, "of a tap of it, copies of weights with it, besides products and pixels")
    gradient_pixels: float = said(1, "to load a fragment of 8 pixels for a tap")
    gradient_piece: float = said(82, "to copy a piece of its halo and form the derivatives of 4 neurons")
    gradient_pooled: float = said(32, "the same in addition where pooling is joined")
    gradient_chunk: float = said(60, "of a chunk of 16 channels, besides")
    sum_step: float = said(45, "of a step of 16 pixels of tensorcore_weight_gradient, besides these and products")
    sum_neurons: float = said(79, "to copy and derive 4 neurons")
    sum_pooled: float = said(18, "the same in addition where pooling is joined")
    sum_inputs: float = said(5, "to copy 4 inputs")
    sum_seen: float = said(3, "to load and round an input that a lane multiplies, and form its mask")
    sum_table: float = said(45, "to find where neurons and inputs lie: a fifth of what is done for five steps")
    gradient_arrays: float = said(3, "arrays that tensorcore_data_gradient reads of a neuron: dLoss/dx, x and S")
    sum_arrays: float = said(3, "the same of tensorcore_weight_gradient")
    of_products: float = said(0.9, "of the rate of mma.sync, or of wgmma, at best")
    of_one_warp: float = said(0.6, "of its speed that a scheduler reaches with one warp")
    of_two_warps: float = said(0.85, "the same with two warps")
    of_block: float = said(2200, "clocks in which a block begins and ends, nothing being multiplied")
    of_load: float = said(300, "clocks until a load from the L2 arrives")
    of_part: float = said(64, "bytes a clock that a block loads of the sums of others, in a weight gradient")

    def speed(self, warps: int) -> float:
        """Share of its speed that a multiprocessor reaches with so many warps."""
        return {1: self.of_one_warp, 2: self.of_two_warps}.get(parts(warps, SCHEDULERS), 1.0)


COSTS = Costs()


@dataclass(frozen=True)
class Block:
    """What one block asks for. macs: multiply-adds of the tensor cores, of the kind that GpuRates calls so.
    instructions: of all its warps. waves: accesses to shared memory of 128 bytes. l2_bytes. serial: clocks at its end
    in which loads follow one another."""

    kind: Literal["half", "tf32", "group_half"]
    macs: int
    instructions: float
    waves: float
    l2_bytes: float
    serial: float = 0.0


@dataclass(frozen=True)
class Rounds:
    """How a multiprocessor goes through a launch. turns: blocks that the busiest one does. at_a_time: of them, beside
    one another. share: blocks of each, on the average."""

    turns: int
    at_a_time: int
    share: float

    @classmethod
    def of(cls, blocks: int, multiprocessors: int, resident: int) -> "Rounds":
        """resident: how many of its blocks a multiprocessor runs at a time; at least 1."""
        full, left = divmod(blocks, multiprocessors * resident)
        last = parts(left, multiprocessors)
        return cls(full * resident + last, resident if full else last, blocks / multiprocessors)


def needs(block: Block, threads: int, rounds: Rounds, rates: GpuRates, costs: Costs = COSTS) -> dict[str, float]:
    """Clocks of a launch that each resource would need by itself; the longest is what it takes."""
    speed = costs.speed(rounds.at_a_time * threads // WARP)
    macs = getattr(rates, block.kind) * costs.of_products
    latency = costs.of_block * rounds.turns / rounds.at_a_time + block.serial
    of_block = {
        TENSOR_CORES: block.macs / macs if macs else math.inf,
        ISSUE: block.instructions / SCHEDULERS,
        SHARED_MEMORY: block.waves,
    }
    found = {name: rounds.turns * clocks / speed + latency for name, clocks in of_block.items()}
    return {**found, L2: rounds.share * block.l2_bytes / rates.l2_bytes}


def stage_instructions(variant: Variant, costs: Costs = COSTS) -> float:
    """Of a warp: what the main loop does at a time, a stage of taps or a step of pixels, copies included."""
    constants, threads = dict(variant.constants), variant.threads
    if variant.kernel == "tensorcore_weight_gradient":
        neurons, inputs = sum_pieces(variant)
        of_neurons = costs.sum_neurons + costs.sum_pooled * constants["POOLED"]
        products = 8 * (1 + constants["HAS_SUM"]) * constants["WARP_IN"] * constants["STRIPS"] * constants["TAPS"]
        copies = parts(neurons, threads) * of_neurons + parts(inputs, threads) * costs.sum_inputs
        return costs.sum_step + products + copies + costs.sum_seen * _seen_inputs(constants)
    fragments = constants["WARP_CHANNELS"] * constants["WARP_PIXELS"]
    if variant.kernel == "tensorcore_forward":
        copies = costs.forward_weights * product_channels(constants) * CHUNK_PIECES / threads
        mask = costs.forward_mask * constants["HAS_SUM"] * constants["WARP_PIXELS"]
        if variant.needs_warpgroups:
            tap = costs.group_tap + costs.group_product * _products(constants) + mask + copies
            return costs.group_stage + constants["TAPS"] * tap
        tap = costs.forward_tap + _products(constants) * fragments + mask + copies
        return costs.forward_stage + constants["TAPS"] * tap
    tap = costs.gradient_tap + costs.gradient_pixels * constants["WARP_PIXELS"] + 2 * fragments
    return costs.gradient_stage + constants["TAPS"] * tap


def product_block(
    variant: Variant, taps: int, chunks: int, halo_pixels: int, ranges: int = 1, costs: Costs = COSTS
) -> Block:
    """Of tensorcore_forward or tensorcore_data_gradient, by its variant, the kernel's taps, the chunks of 16 channels
    that it sums over, the pixels that it sees, and the ranges of channels that are added up."""
    constants, warps = dict(variant.constants), variant.threads // WARP
    is_forward = variant.kernel == "tensorcore_forward"
    channels = product_channels(constants)
    pixels = 8 * constants["WARP_PIXELS"] * constants["WARPS_ACROSS"]
    halo = halo_pixels * CHUNK_PIECES
    # bytes of a piece that come, and that go to shared memory and back: it is read to be converted, and written again
    if is_forward:
        products, piece, of_chunk, comes = _products(constants), costs.forward_piece, costs.forward_chunk, PIECE_BYTES
    else:
        products, piece = 1, costs.gradient_piece + costs.gradient_pooled * constants["POOLED"]
        of_chunk = costs.gradient_chunk
        comes = int(costs.gradient_arrays) * PIECE_BYTES + CHUNK_PIECES * constants["POOLED"]
    weights = taps * channels * WEIGHT_BYTES
    stages = parts(taps, constants["TAPS"])
    instructions = stages * stage_instructions(variant, costs) + parts(halo, variant.threads) * piece + of_chunk
    weights_read = 2 * constants["WARP_CHANNELS"] * WAVES_OF_16
    if variant.needs_warpgroups:
        # each product reads 64 channels' halves once for four warps
        weights_read = products * GROUP_FACTOR_BYTES // SHARED_BYTES_A_CLOCK // 4
    waves: float = warps * taps * (weights_read + constants["WARP_PIXELS"] * WAVES_OF_16)
    waves += (halo * (2 * comes + PIECE_BYTES) + weights) / SHARED_BYTES_A_CLOCK
    kind: Literal["half", "tf32", "group_half"] = "half" if is_forward else "tf32"
    return Block(
        "group_half" if variant.needs_warpgroups else kind,
        products * channels * pixels * taps * chunks * CHUNK,
        chunks * warps * instructions,
        chunks * waves,
        chunks * (halo * comes + weights),
        serial=_serial(ranges, 8 * channels * pixels, constants, costs),
    )


def sum_block(variant: Variant, range_pixels: int, ranges: int, costs: Costs = COSTS) -> Block:
    """Of tensorcore_weight_gradient, with a range of so many pixels."""
    constants, threads = dict(variant.constants), variant.threads
    warps, steps = threads // WARP, parts(range_pixels, STEP)
    out, inner = sum_channels(constants)
    sums = out * inner * constants["TAPS"] * constants["STRIPS"]
    products = 1 + constants["HAS_SUM"]
    neurons, inputs = sum_pieces(variant)
    instructions = stage_instructions(variant, costs) + costs.sum_table
    piece = int(costs.sum_arrays) * PIECE_BYTES + CHUNK_PIECES * constants["POOLED"]
    # a warp's gradients, 32 pairs of each, 2 accesses a pair; and an access for each input of a lane
    waves: float = warps * (32 * products + _seen_inputs(constants))
    waves += (neurons * (2 * piece + 2 * PIECE_BYTES) + inputs * PIECE_BYTES) / SHARED_BYTES_A_CLOCK
    return Block(
        kind="tf32",
        macs=products * steps * STEP * sums,
        instructions=warps * steps * instructions,
        waves=steps * waves,
        l2_bytes=steps * (neurons * piece + inputs * PIECE_BYTES),
        serial=_serial(ranges, 4 * sums, constants, costs),
    )


def _serial(ranges: int, part_bytes: int, constants: Mapping[str, int], costs: Costs) -> float:
    """Clocks in which the last block to come adds the sums of others."""
    if ranges == 1:
        return 0.0
    return _added_parts(ranges, constants["FAN"]) * (costs.of_load + part_bytes / costs.of_part)


def _added_parts(ranges: int, fan: int) -> int:
    """Sums of others that the last block to come adds, and its own, on its way down the tree."""
    return 0 if ranges == 1 else min(ranges, fan) + _added_parts(parts(ranges, fan), fan)


def _seen_inputs(constants: Mapping[str, int]) -> int:
    """Of a step, that a lane multiplies: of two neighbours and all taps, twice; taps of both may be the same inputs."""
    pixels = constants["TAPS"] + (1 if constants["PAIRED"] else constants["TAPS"])
    return 2 * pixels * constants["STRIPS"] * constants["WARP_IN"]


def product_channels(constants: Mapping[str, int]) -> int:
    """Output channels of a block of implicit_gemm.h."""
    return 16 * constants["WARP_CHANNELS"] * constants["WARPS_DOWN"]


def sum_channels(constants: Mapping[str, int]) -> tuple[int, int]:
    """Output and input channels of a block of tensorcore_weight_gradient."""
    return 64 * constants["WARPS_OUT"], 8 * constants["WARP_IN"] * constants["WARPS_IN"]


def sum_pieces(variant: Variant) -> tuple[int, int]:
    """Of a step: 4 neurons each, and 4 inputs."""
    constants = dict(variant.constants)
    out, inner = sum_channels(constants)
    return STEP * out // 4, constants["STRIPS"] * constants["HALO"] * inner // 4


def _products(constants: Mapping[str, int]) -> int:
    """Of forward, for each product of an input and a weight: three for A and two for S, or one each."""
    return 3 + 2 * constants["HAS_SUM"] if constants["SPLIT"] else 1 + constants["HAS_SUM"]
