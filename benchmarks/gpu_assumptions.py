"""What the model of a GPU takes for granted, all of it: data sheets, and shares of them that programs reach."""

import dataclasses
from dataclasses import dataclass, field

from ttfs_cupy.device.gpu_limits import GpuLimits, of_capability

FFMA, TF32, HALF = "float32", "TF32", "half"


@dataclass(frozen=True)
class Gpu:
    """One GPU by its data sheet.

    clock in GHz: that of the tensor rates. memory, l2: bandwidth in GB/s. l2_bytes: its size. ffma, tf32, half: dense
    TFLOP/s, two for a multiply-add; half with sums in float32; 0 where it has none. mma_share: of these rates that
    mma.sync, the only instruction that our kernels multiply by, can reach at most.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    clock: float
    memory: float
    l2: float
    l2_bytes: int
    ffma: float
    tf32: float
    half: float
    mma_share: float
    source: str

    @property
    def limits(self) -> GpuLimits:
        return of_capability(self.capability, self.multiprocessors)

    @property
    def architecture(self) -> int:
        return 10 * self.capability[0] + self.capability[1]

    def tflops(self, number: str) -> float:
        return {FFMA: self.ffma, TF32: self.tf32, HALF: self.half}[number]


# L2 bandwidths, and what mma.sync reaches beside wgmma, are on no data sheet: they are estimates.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", (7, 5), 40, 1.59, 320, 1270, 4 << 20, 8.1, 0, 0, 0, "NVIDIA T4 data sheet; L2: an estimate"),
        Gpu(
            *("A100", (8, 0), 108, 1.41, 2039, 4500, 40 << 20, 19.5, 156, 312, 1.0),
            "NVIDIA A100 80GB SXM data sheet; L2: an estimate, 0.6 of 5120 bytes a clock",
        ),
        Gpu(
            *("H100", (9, 0), 132, 1.83, 3350, 5700, 50 << 20, 66.9, 494.7, 989.4, 0.62),
            "NVIDIA H100 SXM data sheet, dense; L2 and mma.sync (0.6 to 0.65 of wgmma): estimates",
        ),
        Gpu(
            *("RTX4090", (8, 9), 128, 2.52, 1008, 5000, 72 << 20, 82.6, 82.6, 165.2, 1.0),
            "NVIDIA Ada whitepaper, half with float32 sums; L2: an estimate",
        ),
    )
}


def _said(value: float, meaning: str) -> float:
    # dataclasses.field returns what its argument is, as far as types are concerned
    result: float = field(default=value, metadata={"meaning": meaning})
    return result


@dataclass(frozen=True)
class Assumptions:
    """Shares are of the data sheet's rates. Everything that is not counted from code or read from a data sheet."""

    memory_share: float = _said(0.85, "of the memory's bandwidth, every side")
    products_share: float = _said(0.9, "of the tensor cores' rate (times mma.sync's share), at best, our kernels")
    one_warp_speed: float = _said(0.6, "of its speed that a scheduler reaches with one warp (tensorcore_tiles)")
    two_warps_speed: float = _said(0.85, "the same with two warps (tensorcore_tiles)")
    sgemm_share: float = _said(0.85, "of the FFMA rate, cuBLAS in float32")
    cudnn_tf32_share: float = _said(0.6, "of the TF32 rate, cuDNN's convolutions with allow_tf32, PyTorch's default")
    cudnn_float32_share: float = _said(0.9, "of the FFMA rate, cuDNN's convolutions without TF32, computed directly")
    launch: float = _said(2.0, "microseconds of a launch of ours in a CUDA graph")
    eager_operation: float = _said(5.0, "microseconds of the host for an operation of eager PyTorch, at least")
    shortest_kernel: float = _said(2.0, "microseconds of the GPU for the shortest kernel of PyTorch, with its launch")
    l2_share: float = _said(0.5, "of the L2: what an operation of PyTorch handles stays there if it is no more")
    block_latency: float = _said(1.5, "microseconds in which a block begins and ends, nothing being multiplied")
    l2_latency: float = _said(300, "clocks until a load from the L2 arrives")
    loads_at_once: float = _said(4, "parts of a weight gradient that its last block loads at once, of one pair of sums")
    # Instructions in the assembler's output for sm_80 (sm_89 is the same, sm_90 2 to 7 % more), a warp each.
    forward_stage: float = _said(292, "of a stage of 3 taps of tensorcore_forward, 120 of them products")
    forward_weights: float = _said(14, "to copy a piece of its weights, for each thread")
    forward_piece: float = _said(65, "to copy and convert a piece of its halo: 4 channels of a pixel")
    gradient_tap: float = _said(117, "of a tap of tensorcore_data_gradient besides its products")
    gradient_weights: float = _said(23, "to copy a piece of its weights")
    gradient_piece: float = _said(155, "to copy a piece of its halo and form the derivatives of 4 neurons")
    sum_step: float = _said(144, "of a step of tensorcore_weight_gradient besides its 96 products")
    sum_neurons: float = _said(212, "to copy and derive 4 neurons")
    sum_inputs: float = _said(12, "to copy 4 inputs")
    sum_table: float = _said(155, "to find where a step's neurons and inputs lie, for the two warps that do")
    gradient_arrays: float = _said(3, "arrays that tensorcore_data_gradient reads of a neuron: dLoss/dx, x and S")
    sum_arrays: float = _said(3, "the same of tensorcore_weight_gradient")
    split: float = _said(1, "whether forward splits its operands in two halves")
    direct_patch_value: float = _said(20, "to read and use one value of a patch in direct.cu, a warp of neurons")

    def lines(self) -> list[str]:
        """One for each."""
        return [
            f"{entry.name + ':':22}{getattr(self, entry.name):g}  {entry.metadata['meaning']}"
            for entry in dataclasses.fields(self)
        ]
