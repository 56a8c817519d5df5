"""The gradient of the initial potentials (docs/model.md, "Initial potential"): dLoss/dA summed over images and pixels.

Rows are summed in parts, and the parts by the same kernel; how they are cut depends on the shapes alone, and so do the
bits. A CPU's thread has a part at a time (kernels/initial_potential.cpp); a GPU's block has a part of some neighbouring
channels (kernels/cooperative/reductions/initial_potentials.cu).
"""

from ttfs_cupy.device.arrays import Array
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.interface import Device
from ttfs_cupy.device.parts import parts

# Of a part on a CPU. On a GPU of at least so many rows, and at most so many parts.
CPU_ROWS = 512
FEWEST_GPU_ROWS, MOST_GPU_PARTS = 64, 128

THREADS = 256
GRADIENT = Variant("initial_potential_gradient_by_blocks", (("THREADS", THREADS),), THREADS)
VARIANTS = (GRADIENT,)


def workspace(device: Device, rows: int, channels: int) -> int:
    """float32 values of scratch memory for up to so many rows."""
    if device.gpu is None:
        return parts(rows, CPU_ROWS) * channels
    return min(parts(rows, FEWEST_GPU_ROWS), MOST_GPU_PARTS) * channels


def gradient(
    device: Device,
    grad: Array,
    output: Array,
    weight_sum: Array | None,
    derivative: tuple[Array, float, float, float, int],
    potential_gradient: Array,
    scratch: Array,
    *,
    fires: bool,
) -> None:
    """potential_gradient (channels,) = T dLoss/dA, summed over all axes of grad but the last, the channels.

    grad, output, weight_sum: as Neuron.gradient takes them, whose `derivative` and `fires` the others are.
    """
    channels = int(grad.shape[-1])
    rows = int(grad.size) // channels
    slope, _, t_win, grad_clip, separate = derivative
    part_rows = CPU_ROWS if device.gpu is None else max(FEWEST_GPU_ROWS, parts(rows, MOST_GPU_PARTS))
    count = parts(rows, part_rows)
    sums = scratch[: count * channels] if count > 1 else potential_gradient
    of_neurons = (grad, output, weight_sum, slope, t_win, grad_clip, separate, int(fires))
    _sum(device, of_neurons, sums, count, part_rows, rows, channels)
    if count > 1:
        as_they_are = (sums, sums, None, slope, 1.0, grad_clip, separate, 0)
        _sum(device, as_they_are, potential_gradient, 1, count, count, channels)


def _sum(
    device: Device, values: tuple[object, ...], sums: Array, count: int, part_rows: int, rows: int, channels: int
) -> None:
    arguments = (*values, sums, count, part_rows, rows, channels)
    if device.gpu is None:
        device.launch("initial_potential_gradient", rows * channels, *arguments)
        return
    device.launch_blocks(GRADIENT, count * parts(channels, WARP), 0, *arguments)
