"""The engine's training step on a GPU that is not at hand: what it launches, layer by layer, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.gpu_model.assumptions import Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.kernels import Timed, timed
from ttfs_cupy.benchmarks.gpu_model.recorder import Recorded, RecordingGpu
from ttfs_cupy.benchmarks.work import shapes
from ttfs_cupy.benchmarks.workload import CLASSES, Workload
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.convolution.direct import Direct
from ttfs_cupy.convolution.first_layer import FirstLayer
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.engine.layers import MaxPool
from ttfs_cupy.engine.loss import CrossEntropy
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.parameters import Parameters
from ttfs_cupy.engine.turns import Turns
from ttfs_cupy.engine.validity import Validity
from ttfs_cupy.neuron import Encoder, Neuron, PotentialReadout, PspSlope, SpikingNeuron

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerShape:
    """A layer that has weights, and whether 2x2 pooling follows."""

    name: str
    shape: ConvolutionShape
    pooled: bool
    is_first: bool = False
    is_readout: bool = False

    @property
    def passes(self) -> tuple[Pass, ...]:
        return tuple(which for which in PASSES if not (self.is_first and which == "data_gradient"))

    def outputs(self, batch_size: int) -> int:
        """Neurons that are stored: after pooling."""
        return batch_size * self.shape.out_pixels * self.shape.out_channels // (4 if self.pooled else 1)

    def inputs(self, batch_size: int) -> int:
        return batch_size * self.shape.in_pixels * self.shape.in_channels

    def floor_bytes(self, which: Pass, batch_size: int) -> int:
        """Each activation array once: earliness in and out and the weight sum; in backward also the gradients. Of
        pooling, a byte for each winner. The readout keeps no weight sum and needs its gradient alone."""
        outputs, inputs = self.outputs(batch_size), self.inputs(batch_size)
        out = outputs * (FLOAT_BYTES if self.is_readout else 2 * FLOAT_BYTES) + (outputs if self.pooled else 0)
        if which == "forward":
            return FLOAT_BYTES * inputs + out
        back = out + (0 if self.is_readout else FLOAT_BYTES * outputs)
        return back + FLOAT_BYTES * inputs


def layers_of(workload: Workload) -> list[LayerShape]:
    entries = [*workload.spec, "readout"]
    found: list[LayerShape] = []
    remaining = iter(shapes(workload))
    for index, entry in enumerate(entries):
        if entry == "P":
            continue
        pooled = index + 1 < len(entries) and entries[index + 1] == "P"
        is_readout = entry == "readout"
        name = "readout" if is_readout else f"conv{len(found) + 1}"
        found.append(LayerShape(name, next(remaining), pooled, not found, is_readout))
    return found


@dataclass(frozen=True)
class Part:
    """A pass of a layer, or what is done once a step, by one algorithm. floor: bytes that it must handle at least."""

    layer: str
    which: str
    algorithm: str
    launches: tuple[Timed, ...]
    useful_tflop: float = 0.0
    floor: int = 0

    @property
    def time(self) -> float:
        """Microseconds."""
        return sum(launch.time for launch in self.launches)

    @property
    def bytes(self) -> int:
        return sum(launch.recorded.bytes for launch in self.launches)

    @property
    def longest(self) -> Timed:
        return max(self.launches, key=lambda launch: launch.time)


@dataclass(frozen=True)
class Step:
    parts: tuple[Part, ...]

    @property
    def time(self) -> float:
        """Microseconds."""
        return sum(part.time for part in self.parts)

    @property
    def launches(self) -> int:
        return sum(len(part.launches) for part in self.parts)

    @property
    def bytes(self) -> int:
        """Of the passes through layers, without the optimiser."""
        return sum(part.bytes for part in self.parts if part.floor)

    @property
    def floor(self) -> int:
        return sum(part.floor for part in self.parts)


@dataclass(frozen=True)
class Candidates:
    """Of a part of a step: what each algorithm would launch. tuned: those that the tuner may choose."""

    layer: str
    which: str
    choices: Mapping[str, tuple[Recorded, ...]]
    tuned: tuple[str, ...] = ("",)
    useful_tflop: float = 0.0
    floor: int = 0

    def part(self, name: str, gpu: Gpu, given: Assumptions) -> Part:
        launches = tuple(timed(one, gpu, given) for one in self.choices[name])
        return Part(self.layer, self.which, name, launches, self.useful_tflop, self.floor)


@dataclass(frozen=True)
class Trace:
    """What a step launches on a GPU, part by part."""

    gpu: Gpu
    parts: tuple[Candidates, ...]

    def step(self, given: Assumptions, only: str | None = None, gpu: Gpu | None = None) -> Step:
        """Each part by the algorithm that takes the shortest, as the tuner would choose; or by that one alone.

        gpu: another that has the same launches.
        """
        found = []
        for of in self.parts:
            names = [only] if only is not None and only in of.choices else list(of.tuned)
            found.append(min((of.part(name, gpu or self.gpu, given) for name in names), key=lambda part: part.time))
        return Step(tuple(found))


def trace(workload: Workload, batch_size: int, gpu: Gpu) -> Trace:
    """Runs the engine's own algorithms on a recorder. Raises UserError where NVRTC cannot be loaded."""
    device = RecordingGpu(gpu)
    layers = layers_of(workload)
    found = [_candidates(device, layer, which, batch_size) for layer in layers for which in layer.passes]
    found.append(Candidates("", "check of the inputs", {"": _check(device, layers[0], batch_size)}))
    found.append(Candidates("", "loss", {"": _loss(device, layers[0], batch_size)}))
    found.append(Candidates("", "optimiser", {"": _optimizer(device, layers)}))
    return Trace(gpu, tuple(found))


def _candidates(device: RecordingGpu, layer: LayerShape, which: Pass, batch_size: int) -> Candidates:
    kinds = _kinds(layer, device)
    choices = {kind.name: _record(device, kind(device, layer.shape), layer, which, batch_size) for kind in kinds}
    # the passes of a layer pool together, or none does
    joining = [kind for kind in kinds if kind.joins_pooling]
    tuned = [kind.name for kind in (joining if layer.pooled and joining else kinds)]
    if layer.is_readout:
        # full connections are not tuned: theirs is the one that choice.connecting takes
        tuned = [max(kinds, key=lambda kind: kind.rank).name]
    products = 1 if which == "data_gradient" else 2
    tflop = 2 * products * batch_size * layer.shape.multiplications / 1e12
    return Candidates(layer.name, which, choices, tuple(tuned), tflop, layer.floor_bytes(which, batch_size))


def _kinds(layer: LayerShape, device: RecordingGpu) -> list[type[Algorithm]]:
    """What is chosen among, but winograd."""
    others = [kind for kind in (Direct, FirstLayer, TensorCore) if kind.connects or not layer.is_readout]
    return [Gemm, *(kind for kind in others if kind.fits(layer.shape, device) is None)]


def _neuron(device: RecordingGpu, layer: LayerShape) -> Neuron:
    slope = PspSlope(device, 1.0)
    if layer.is_readout:
        return PotentialReadout(device, 1.0, slope)
    return SpikingNeuron(device, 1.0, slope, "separate")


def _record(
    device: RecordingGpu, algorithm: Algorithm, layer: LayerShape, which: Pass, batch_size: int
) -> tuple[Recorded, ...]:
    """The launches of a pass, with those of the pooling above it."""
    shape, neuron = layer.shape, _neuron(device, layer)
    full = (batch_size, *shape.out_size, shape.out_channels)
    joins = layer.pooled and algorithm.joins_pooling
    pooled = (batch_size, shape.out_size[0] // 2, shape.out_size[1] // 2, shape.out_channels)
    size = pooled if joins else full
    images = device.pages(batch_size, *shape.in_size, shape.in_channels)
    weights = device.pages(*shape.kernel, shape.in_channels, shape.out_channels)
    winner = device.pages(*pooled, dtype=np.uint8)
    weight_sum = None if layer.is_readout else device.pages(*size)
    out = Activations(device.pages(*size), weight_sum, winner if joins else None)
    workspace = device.pages(algorithm.workspace(batch_size, which))
    pool = MaxPool("pool", device, full[1:], (2, 2), (2, 2)) if layer.pooled and not joins else None
    of_pool = Activations(device.pages(*pooled), None, winner)
    device.launches = []
    outgoing = OutgoingGradient(neuron, device.pages(*size), out)
    if which == "forward":
        algorithm.forward(images, weights, neuron, out, workspace)
        if pool is not None:
            pool.forward(out.output, of_pool, workspace)
    elif which == "data_gradient":
        algorithm.data_gradient(outgoing, weights, device.pages(*images.shape), workspace)
    else:
        if pool is not None:
            pool.backward(out.output, device.pages(*pooled), of_pool, device.pages(*full), workspace)
        algorithm.weight_gradient(images, outgoing, weights, workspace)
    return tuple(device.launches)


def _validity(device: RecordingGpu, first: LayerShape) -> Validity:
    return Validity(device, (*first.shape.in_size, first.shape.in_channels), Encoder(), CLASSES)


def _check(device: RecordingGpu, first: LayerShape, batch_size: int) -> tuple[Recorded, ...]:
    validity = _validity(device, first)
    device.launches = []
    validity.check_inputs(device.pages(batch_size, *first.shape.in_size, first.shape.in_channels))
    return tuple(device.launches)


def _loss(device: RecordingGpu, first: LayerShape, batch_size: int) -> tuple[Recorded, ...]:
    loss = CrossEntropy(device, batch_size, CLASSES, _validity(device, first), Turns(device))
    device.launches = []
    loss.add(device.pages(batch_size, CLASSES), device.pages(batch_size, dtype=np.int32))
    return tuple(device.launches)


def _optimizer(device: RecordingGpu, layers: Sequence[LayerShape]) -> tuple[Recorded, ...]:
    parameters = Parameters(device, [])
    parameters.size = parameters.decayed = sum(layer.shape.weights for layer in layers)
    parameters.values, parameters.gradients = device.pages(parameters.size), device.pages(parameters.size)
    device.launches = []
    optimizer = Adam(device, parameters, 1e-4)
    device.launches = []
    optimizer.step()
    return tuple(device.launches)
