"""How long a recorded launch takes on a GPU: the resource that is busy longest decides.

For the kernels on tensor cores that is the engine's own estimate, by which it chooses tiles
(convolution/tensorcore/costs.py), and the bytes from memory; for the first layer's, first_layer.py and these bytes.
Times are microseconds.
"""

from dataclasses import dataclass, replace

from ttfs_cupy.benchmarks.gpu_model import first_layer
from ttfs_cupy.benchmarks.gpu_model.assumptions import Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.first_layer import FirstLayerBlock
from ttfs_cupy.benchmarks.gpu_model.recorder import Recorded, registers
from ttfs_cupy.convolution.tensorcore.costs import CHUNK, SCHEDULERS, Block, Rounds, needs, product_block, sum_block
from ttfs_cupy.data.production import LEVELS
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.parts import parts


@dataclass(frozen=True)
class Timed:
    """A launch and its time, in microseconds, with what each resource would need by itself.

    tflop: of its products, paddings of tiles included. waves: rounds of resident blocks.
    """

    recorded: Recorded
    needs: dict[str, float]
    overhead: float
    tflop: float = 0.0
    registers: int = 0
    resident: int = 0
    warps: int = 0
    waves: float = 0.0

    @property
    def time(self) -> float:
        return max(self.needs.values(), default=0.0) + self.overhead

    @property
    def bound(self) -> str:
        return max(self.needs, key=lambda name: self.needs[name])


def timed(recorded: Recorded, gpu: Gpu, given: Assumptions) -> Timed:
    """The time of a launch."""
    memory = recorded.bytes / (gpu.memory * given.memory_share) / 1e3
    if recorded.variant is not None:
        return _cooperative(recorded, gpu, given, memory)
    needs = {"memory": memory}
    tflop = 2 * recorded.products / 1e12
    if recorded.products:
        needs["FFMA"] = tflop / (gpu.ffma * given.sgemm_share) * 1e6
    if recorded.kernel == "measure_levels":
        # a thread goes through the pixels of its part
        needs["latency"] = recorded.value("size") / recorded.value("parts") * given.table_pixel / (gpu.clock * 1e3)
    if recorded.kernel == "tabulate":
        # and another through all levels of all parts
        needs["latency"] = LEVELS * recorded.value("parts") * given.table_level / (gpu.clock * 1e3)
    if recorded.kernel.startswith("direct_"):
        needs |= _direct(recorded, gpu, given)
    return Timed(recorded, needs, given.launch, tflop)


def _direct(recorded: Recorded, gpu: Gpu, given: Assumptions) -> dict[str, float]:
    """These kernels keep a patch and its mask in local memory, since their size is no constant; the weight gradient
    also has its sums in device memory: the L2 takes what the first-level cache does not hold."""
    patch = recorded.value("kernel_h") * recorded.value("kernel_w") * recorded.value("channels")
    limits, used = gpu.limits, recorded.work * patch
    local = 8 * patch * limits.threads
    l2_bytes = 16 * used if local > limits.shared_bytes else 0
    if recorded.kernel == "direct_weight_gradient":
        l2_bytes += 4 * used
    rate = gpu.multiprocessors * SCHEDULERS * gpu.clock * 1e3
    return {"issue": given.direct_patch_value * used / WARP / rate, "L2": l2_bytes / gpu.l2 / 1e3}


def _cooperative(recorded: Recorded, gpu: Gpu, given: Assumptions, memory: float) -> Timed:
    variant = recorded.variant
    assert variant is not None
    limits, clock = gpu.limits, gpu.clock * 1e3  # clocks in a microsecond
    taken = registers(variant, gpu.architecture)
    resident = limits.resident_blocks(variant.threads, taken, recorded.shared_bytes)
    if not variant.kernel.startswith("tensorcore_") and variant.kernel not in first_layer.KERNELS:
        # packing and reductions, which handle bytes
        of_all = limits.multiprocessors * resident
        sizes = {"registers": taken, "resident": resident, "warps": resident * variant.threads // WARP}
        return Timed(recorded, {"memory": memory}, given.launch, waves=recorded.blocks / of_all, **sizes)

    rounds = Rounds.of(recorded.blocks, limits.multiprocessors, resident)
    block: Block | FirstLayerBlock
    if variant.kernel in first_layer.KERNELS:
        block = first_layer.block_of(variant, dict(recorded.values), given.first_layer, given.costs)
        needed = _first_layer_needs(block, variant.threads, rounds, gpu, given)
    else:
        block = block_of(recorded, given)
        needed = needs(block, variant.threads, rounds, gpu.rates, given.costs)
    return Timed(
        recorded,
        {**{name: clocks / clock for name, clocks in needed.items()}, "memory": memory + block.serial / clock},
        *(given.launch, 2 * recorded.blocks * block.macs / 1e12, taken, resident),
        warps=rounds.at_a_time * variant.threads // WARP,
        waves=recorded.blocks / (limits.multiprocessors * resident),
    )


def _first_layer_needs(
    block: FirstLayerBlock, threads: int, rounds: Rounds, gpu: Gpu, given: Assumptions
) -> dict[str, float]:
    return first_layer.needs(
        *(block, threads, rounds, gpu.ffma_lanes, gpu.rates.l2_bytes),
        loads_ahead=gpu.capability >= (9, 0),
        costs=given.first_layer,
        general=given.costs,
    )


def block_of(recorded: Recorded, given: Assumptions) -> Block:
    """What a block of one of the three kernels on tensor cores asks for."""
    variant, value = recorded.variant, recorded.value
    assert variant is not None
    if variant.kernel == "tensorcore_weight_gradient":
        return sum_block(variant, value("range_pixels"), value("ranges"), given.costs)
    if not given.split:
        constants = tuple((name, 0 if name == "SPLIT" else number) for name, number in variant.constants)
        variant = replace(variant, constants=constants)
    taps, halo_pixels = value("kernel_h") * value("kernel_w"), value("halo_pixels")
    if variant.kernel == "tensorcore_forward":
        return product_block(variant, taps, value("range_chunks"), halo_pixels, value("ranges"), given.costs)
    return product_block(variant, taps, parts(value("channels"), CHUNK), halo_pixels, costs=given.costs)
