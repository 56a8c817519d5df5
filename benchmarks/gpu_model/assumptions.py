"""What the model of a GPU takes for granted, all of it: data sheets, and shares of them that programs reach."""

import dataclasses
from dataclasses import dataclass

from ttfs_cupy.benchmarks.gpu_model.first_layer import FIRST_LAYER_COSTS, FirstLayerCosts
from ttfs_cupy.convolution.tensorcore.costs import COSTS, Costs, said
from ttfs_cupy.device.gpu_limits import GpuLimits, GpuRates, of_capability

FFMA, TF32, HALF = "float32", "TF32", "half"


@dataclass(frozen=True)
class Gpu:
    """One GPU by its data sheet.

    clock in GHz: that of the tensor rates. memory, l2: bandwidth in GB/s. l2_bytes: its size. ffma, tf32, half: dense
    TFLOP/s, two for a multiply-add; half with sums in float32; 0 where it has none. mma_share: of these rates that
    mma.sync can reach at most; wgmma, by which our forward multiplies on 9.0, can reach them.
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
    def rates(self) -> GpuRates:
        """As the engine's choice of tiles has them (GpuLimits.rates), but from this data sheet."""
        clocks = self.multiprocessors * self.clock * 1e9
        half, tf32 = (number * self.mma_share * 1e12 / 2 / clocks for number in (self.half, self.tf32))
        group_half = self.half * 1e12 / 2 / clocks if self.limits.has_warpgroups else 0
        return GpuRates(half, tf32, self.l2 * 1e9 / clocks, group_half)

    @property
    def ffma_lanes(self) -> float:
        """Multiply-adds in float32 of a multiprocessor, a clock."""
        return self.ffma * 1e12 / 2 / (self.multiprocessors * self.clock * 1e9)

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


@dataclass(frozen=True)
class Assumptions:
    """Shares are of the data sheet's rates. Everything that is not counted from code or read from a data sheet.

    costs: what the engine's own choice of tiles assumes. first_layer: of the first layer's kernels."""

    memory_share: float = said(0.85, "of the memory's bandwidth, every side")
    sgemm_share: float = said(0.85, "of the FFMA rate, cuBLAS in float32")
    cudnn_tf32_share: float = said(0.6, "of the TF32 rate, cuDNN's convolutions with allow_tf32, PyTorch's default")
    cudnn_float32_share: float = said(0.9, "of the FFMA rate, cuDNN's convolutions without TF32, computed directly")
    launch: float = said(2.0, "microseconds of a launch of ours in a CUDA graph")
    eager_operation: float = said(5.0, "microseconds of the host for an operation of eager PyTorch, at least")
    shortest_kernel: float = said(2.0, "microseconds of the GPU for the shortest kernel of PyTorch, with its launch")
    l2_share: float = said(0.5, "of the L2: what an operation of PyTorch handles stays there if it is no more")
    split: float = said(1, "whether forward splits its operands in two halves")
    direct_patch_value: float = said(20, "to read and use one value of a patch in direct.cu, a warp of neurons")

    table_pixel: float = said(150, "clocks for a pixel in a thread that measures an image: loads, and local memory")
    table_level: float = said(12, "clocks for a level of a part in a thread that makes a table of it")

    costs: Costs = COSTS
    first_layer: FirstLayerCosts = FIRST_LAYER_COSTS

    def lines(self) -> list[str]:
        """One for each."""
        return [
            f"{entry.name + ':':22}{getattr(of, entry.name):g}  {entry.metadata['meaning']}"
            for of in (self, self.costs, self.first_layer)
            for entry in dataclasses.fields(of)
            if entry.metadata
        ]

    def changed(self, **values: float) -> "Assumptions":
        """With other values of these, whether they are its own, of costs or of first_layer."""
        own = {name: value for name, value in values.items() if hasattr(self, name)}
        first = {name: value for name, value in values.items() if hasattr(self.first_layer, name)}
        others = {name: value for name, value in values.items() if name not in own and name not in first}
        return dataclasses.replace(
            self,
            **own,
            costs=dataclasses.replace(self.costs, **others),
            first_layer=dataclasses.replace(self.first_layer, **first),
        )
