"""How long a recorded launch takes on a GPU: the resource that is busy longest decides.

A multiprocessor's time for a block is the longest of what its tensor cores, its schedulers (an instruction a clock
each) and its shared memory (128 bytes a clock) need; rounds of blocks follow from what fits. Beside it stand the bytes
from the L2 and from memory. Times are microseconds.
"""

from dataclasses import dataclass

from ttfs_cupy.benchmarks.gpu_assumptions import HALF, TF32, Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_recorder import Recorded, registers
from ttfs_cupy.convolution.scratch import parts
from ttfs_cupy.device.gpu_limits import WARP

SCHEDULERS = 4
SHARED_BYTES_A_CLOCK = 128
CHUNK = 16
# Pieces of 16 bytes of a pixel's chunk; bytes that a chunk of one channel's weights takes, split or not.
PIECES = 4
WEIGHT_BYTES = 64
# Of 16 bytes for each of 32 lanes: how often shared memory is asked.
WAVES_OF_16 = 4


@dataclass(frozen=True)
class Block:
    """What one block of a cooperative kernel asks for.

    macs: multiply-adds of the tensor cores. instructions: of all its warps. waves: accesses to shared memory of 128
    bytes. l2_bytes. serial: clocks at its end in which loads follow one another.
    """

    number: str
    macs: int
    instructions: float
    waves: float
    l2_bytes: int
    serial: float = 0.0


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
    if recorded.kernel.startswith("direct_"):
        needs |= _direct(recorded, gpu, given)
    return Timed(recorded, needs, given.launch, tflop)


def _direct(recorded: Recorded, gpu: Gpu, given: Assumptions) -> dict[str, float]:
    """The first layer's kernels keep a patch and its mask in local memory, since their size is no constant; the weight
    gradient, its sums in device memory: the L2 takes what the first-level cache does not hold."""
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
    if variant.kernel == "pack_weights":
        of_all = limits.multiprocessors * resident
        sizes = {"registers": taken, "resident": resident, "warps": resident * variant.threads // WARP}
        return Timed(recorded, {"memory": memory}, given.launch, waves=recorded.blocks / of_all, **sizes)

    block = block_of(recorded, given)
    full, left = divmod(recorded.blocks, limits.multiprocessors * resident)
    last = parts(left, limits.multiprocessors)
    turns = full * resident + last  # blocks that the busiest multiprocessor does
    at_a_time = resident if full else last
    warps = at_a_time * variant.threads // WARP
    speed = {1: given.one_warp_speed, 2: given.two_warps_speed}.get(parts(warps, SCHEDULERS), 1.0)

    peak = gpu.tflops(block.number) * gpu.mma_share * given.products_share
    macs_a_clock = peak * 1e6 / 2 / gpu.multiprocessors / clock
    clocks = {
        "tensor cores": block.macs / macs_a_clock,
        "issue": block.instructions / SCHEDULERS,
        "shared memory": block.waves,
    }
    latency = given.block_latency * turns / at_a_time + block.serial / clock
    needs = {name: turns * value / speed / clock + latency for name, value in clocks.items()}
    needs |= {"L2": recorded.blocks * block.l2_bytes / gpu.l2 / 1e3, "memory": memory}
    return Timed(
        *(recorded, needs, given.launch, 2 * recorded.blocks * block.macs / 1e12, taken, resident, warps),
        waves=recorded.blocks / (limits.multiprocessors * resident),
    )


def block_of(recorded: Recorded, given: Assumptions) -> Block:
    """What a block of one of the three kernels on tensor cores asks for."""
    assert recorded.variant is not None
    return {
        "tensorcore_forward": _forward,
        "tensorcore_data_gradient": _data_gradient,
        "tensorcore_weight_gradient": _weight_gradient,
    }[recorded.variant.kernel](recorded, given)


@dataclass(frozen=True)
class _Product:
    """The measures of a block of implicit_gemm.h."""

    warps: int
    fragments: int  # of a warp: 16 channels x 8 pixels
    taps: int
    chunks: int
    channels: int
    pixels: int
    stage_taps: int
    halo_pieces: int
    halo_pieces_a_thread: int
    weight_pieces_a_thread: float  # and tap
    waves_a_tap: int  # of a warp: its weights' and its pixels' fragments

    @classmethod
    def of(cls, recorded: Recorded) -> "_Product":
        assert recorded.variant is not None
        constants, threads = dict(recorded.variant.constants), recorded.variant.threads
        down, across = constants["WARP_CHANNELS"], constants["WARP_PIXELS"]
        channels, pixels = 16 * down * constants["WARPS_DOWN"], 8 * across * constants["WARPS_ACROSS"]
        halo = recorded.value("halo_pixels") * PIECES
        return cls(
            *(threads // WARP, down * across, recorded.value("kernel_h") * recorded.value("kernel_w")),
            *(parts(recorded.value("channels"), CHUNK), channels, pixels, constants["TAPS"]),
            *(halo, parts(halo, threads), channels * PIECES / threads),
            waves_a_tap=2 * down * WAVES_OF_16 + across * WAVES_OF_16,
        )

    @property
    def macs(self) -> int:
        return self.channels * self.pixels * self.taps * self.chunks * CHUNK

    def waves(self, of_piece: float) -> float:
        """of_piece: bytes of the halo's piece that go to shared memory and back."""
        halo, weights = self.halo_pieces * of_piece, self.taps * self.channels * WEIGHT_BYTES
        return self.chunks * (self.warps * self.taps * self.waves_a_tap + (halo + weights) / SHARED_BYTES_A_CLOCK)

    def l2_bytes(self, of_piece: int) -> int:
        return self.chunks * (self.halo_pieces * of_piece + self.taps * self.channels * WEIGHT_BYTES)


def _forward(recorded: Recorded, given: Assumptions) -> Block:
    of, constants = _Product.of(recorded), dict(recorded.variant.constants if recorded.variant else ())
    products = 3 + 2 * constants["HAS_SUM"] if given.split else 1 + constants["HAS_SUM"]
    stage = given.forward_stage + given.forward_weights * of.weight_pieces_a_thread * of.stage_taps
    instructions = parts(of.taps, of.stage_taps) * stage + of.halo_pieces_a_thread * given.forward_piece
    return Block(HALF, products * of.macs, of.warps * of.chunks * instructions, of.waves(3 * 16), of.l2_bytes(16))


def _data_gradient(recorded: Recorded, given: Assumptions) -> Block:
    of = _Product.of(recorded)
    tap = given.gradient_tap + 2 * of.fragments + given.gradient_weights * of.weight_pieces_a_thread
    instructions = of.taps * tap + of.halo_pieces_a_thread * given.gradient_piece
    piece = int(given.gradient_arrays) * 16 + 4  # and the winners
    # a piece comes in, is read to be converted, and its derivative written
    return Block(TF32, of.macs, of.warps * of.chunks * instructions, of.waves(2 * piece + 16), of.l2_bytes(piece))


def _weight_gradient(recorded: Recorded, given: Assumptions) -> Block:
    assert recorded.variant is not None
    constants, threads = dict(recorded.variant.constants), recorded.variant.threads
    warps, taps, step = threads // WARP, constants["TAPS"], 16
    out, inner = 64 * constants["WARPS_OUT"], 16 * constants["WARPS_IN"]
    products = 1 + constants["HAS_SUM"]
    pieces = step * out // 4, taps * step * inner // 4
    instructions = given.sum_step + 16 * products * taps + given.sum_table * min(1.0, 64 / threads)
    instructions += parts(pieces[0], threads) * given.sum_neurons + parts(pieces[1], threads) * given.sum_inputs
    piece = int(given.sum_arrays) * 16 + 4  # and the winners
    # 8 pixels: a warp's gradients, 8 pairs of each, and two pairs of inputs for each tap, 2 accesses a pair
    waves = float(warps * 2 * (16 * products + 4 * taps))
    waves += (pieces[0] * (2 * piece + 32) + pieces[1] * 16) / SHARED_BYTES_A_CLOCK
    ranges, steps = recorded.value("ranges"), recorded.value("range_pixels") // step
    pairs = taps * 16
    return Block(
        *(TF32, products * steps * step * out * inner * taps, warps * steps * instructions, steps * waves),
        l2_bytes=steps * (pieces[0] * piece + pieces[1] * 16),
        serial=pairs * -(-ranges // given.loads_at_once) * given.l2_latency if ranges > 1 else 0.0,
    )
