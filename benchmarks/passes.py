"""How fast each pass of a typical layer is on a GPU, by every algorithm that fits it, and by cuDNN through PyTorch."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS
from ttfs_cupy.benchmarks.measure import best_of, clock_between
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Device
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

TYPICAL = ConvolutionShape((16, 16), 256, 256, (3, 3), padding=(1, 1))
BATCH = 256

# Launches in a row, so that a clock of the host times the GPU.
IN_A_ROW = 20

# Convolutions of a pass: earliness and mask, both with the same weights; one data gradient; both weights' gradients.
CONVOLUTIONS: dict[Pass, int] = {"forward": 2, "data_gradient": 1, "weight_gradient": 2}


def lines(device: Device, shape: ConvolutionShape = TYPICAL, batch_size: int = BATCH) -> Iterator[str]:
    """A table, row by row, as it is measured."""
    name, peak = known_peak(device.description)
    yield (
        f"{shape.in_channels} -> {shape.out_channels} channels, kernel {shape.kernel}, {shape.in_size} pixels, "
        f"batch {batch_size}, psp_slope 1; TFLOP/s as if computed directly"
        + (f"; of {name}'s TF32 peak, {peak:g}" if peak else "; this card's peak is not known here")
    )
    yield f"{'':36}{'ms':>10}{'TFLOP/s':>10}{'of peak':>10}"
    for which in PASSES:
        flop = 2 * CONVOLUTIONS[which] * batch_size * shape.multiplications
        for kind in algorithms().values():
            if kind.fits(shape, device) is None:
                seconds = time(device, kind(device, shape), shape, which, batch_size)
                yield _line(f"{kind.name} {which}", seconds, flop, peak)
        if has_cudnn():
            from ttfs_cupy.benchmarks.peers import cudnn

            for number, allow_tf32 in (("TF32", True), ("float32", False)):
                seconds = CONVOLUTIONS[which] * cudnn.seconds(
                    shape, batch_size, which, device.name, allow_tf32=allow_tf32
                )
                yield _line(f"cuDNN {number} {which}", seconds, flop, peak)
    if has_cudnn():
        yield "cuDNN: the convolutions alone, without the neurons' rule and derivatives, channels last"


def _line(what: str, seconds: float, flop: float, peak: float) -> str:
    tflops = flop / seconds / 1e12
    return f"{what:36}{seconds * 1e3:10.3f}{tflops:10.1f}{f'{tflops / peak:.0%}' if peak else '-':>10}"


def time(device: Device, algorithm: Algorithm, shape: ConvolutionShape, which: Pass, batch_size: int) -> float:
    """Seconds of a pass, the shortest of a few."""
    return best_of(_between(device), _body(device, algorithm, shape, which, batch_size), times=3)


def _between(device: Device) -> Callable[[Callable[[], object], int], float]:
    clock = clock_between(device.synchronize)
    # best_of asks for one
    return lambda work, times: clock(work, times * IN_A_ROW)


def _body(
    device: Device, algorithm: Algorithm, shape: ConvolutionShape, which: Pass, batch_size: int
) -> Callable[[], object]:
    xp, draw = device.xp, np.random.default_rng(0)
    inner, outer = (batch_size, *shape.in_size, shape.in_channels), (batch_size, *shape.out_size, shape.out_channels)
    earliness = [draw.random(size, np.float32) * (draw.random(size, np.float32) > 0.5) for size in (inner, outer)]
    images, output = (device.to_device(array) for array in earliness)
    weights = device.to_device(
        draw.standard_normal((*shape.kernel, inner[3], outer[3]), np.float32)
        * np.float32(np.sqrt(2 / shape.patch_size))
    )
    grad, weight_sum = (device.to_device(draw.random(outer, np.float32)) for _ in range(2))
    neuron = SpikingNeuron(device, 1.0, PspSlope(device, 1.0))
    workspace = xp.empty(algorithm.workspace(batch_size, which), np.float32)
    if which == "forward":
        out = Activations(xp.empty_like(output), xp.empty_like(output))
        return lambda: algorithm.forward(images, weights, neuron, out, workspace)
    outgoing = OutgoingGradient(neuron, grad, Activations(output, weight_sum))
    if which == "data_gradient":
        target = xp.empty_like(images)
        return lambda: algorithm.data_gradient(outgoing, weights, target, workspace)
    target = xp.empty_like(weights)
    return lambda: algorithm.weight_gradient(images, outgoing, target, workspace)


def known_peak(description: str) -> tuple[str, float]:
    """The card's name and TFLOP/s in TF32 by its data sheet; 0 where it is not listed, or has none."""
    plain = description.replace(" ", "")
    return next(((name, gpu.tf32) for name, gpu in GPUS.items() if name in plain), ("", 0.0))


def has_cudnn() -> bool:
    """Whether PyTorch is installed, with CUDA that works."""
    if find_spec("torch") is None:
        return False
    try:
        from ttfs_cupy.benchmarks.peers import cudnn
    except (ImportError, OSError):
        # a PyTorch that is damaged, or was built for other libraries
        return False
    return cudnn.is_available()
