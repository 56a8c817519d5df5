"""Every way of every pass of vgg11's layers (each tile of those on tensor cores): how wrong, and how fast?"""

from collections.abc import Iterator
from dataclasses import dataclass

from ttfs_cupy.benchmarks import passes
from ttfs_cupy.benchmarks.passes import CONVOLUTIONS
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.deep.references.layer_trial import LayerTrial
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Array, Device, get_device

# Beside float64 nothing is closer than float32 is; gemm, which the others are held against, states no tolerance.
FLOAT32 = 1e-5

BATCH = {"cuda": 128, "cpu": 2}
SMALL = (ConvolutionShape((8, 8), 16, 16, (3, 3), padding=(1, 1)),)

# The choice among a pass's ways should not be slower than the fastest by more.
SLOWER = 1.25
MOST_WRONG = 6
SECONDS_OF_A_WAY = 2

# A network's first layer has no data gradient.
OF_FIRST: tuple[Pass, ...] = ("forward", "weight_gradient")
COLOURS = 3


@dataclass(frozen=True)
class Way:
    """A pass of a layer by one way. error: in the norm, from float64. microseconds: of the whole pass.

    problem: what it raised; there are no numbers then.
    """

    layer: str
    batch: int
    which: str
    way: str
    error: float
    allowed: float
    microseconds: float = 0.0
    tflops: float = 0.0
    problem: str = ""

    @property
    def is_wrong(self) -> bool:
        return bool(self.problem) or not self.error <= self.allowed


@dataclass(frozen=True)
class Cudnn:
    """cuDNN's convolutions of a pass, through PyTorch, without the neurons: as many as the pass has."""

    layer: str
    batch: int
    which: str
    numbers: str
    microseconds: float
    tflops: float


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    shapes = shapes_of_vgg11() if device.gpu is not None else SMALL
    measure(notes, device, shapes, BATCH[device.target])


def shapes_of_vgg11() -> tuple[ConvolutionShape, ...]:
    """Its convolutions, the same ones once."""
    workload = WORKLOADS["vgg11"]
    channels, height, width = workload.input_shape
    shapes = []
    for entry in workload.spec:
        if isinstance(entry, int):
            shapes.append(ConvolutionShape((height, width), channels, entry, (3, 3), padding=(1, 1)))
            channels = entry
        else:
            height, width = height // 2, width // 2
    return tuple(dict.fromkeys(shapes))


def measure(notes: Notes, device: Device, shapes: tuple[ConvolutionShape, ...], batch: int) -> None:
    """Until all is measured, the time is over, or the device is lost."""
    ways: list[Way] = []
    cudnn: list[Cudnn] = []
    try:
        for shape in shapes:
            layer = LayerTrial(device, shape, batch)
            for which in OF_FIRST if shape.in_channels == COLOURS else PASSES:
                _measure_pass(notes, layer, which, ways)
                for figure in _cudnn(layer, which):
                    cudnn.append(figure)
                    notes.record(figure)
    except _StoppedError as over:
        notes.attention(str(over))
    finally:
        _conclude(notes, ways, cudnn)


class _StoppedError(Exception):
    """No more can be measured."""


def _measure_pass(notes: Notes, layer: LayerTrial, which: Pass, ways: list[Way]) -> None:
    """Appends to the ways. Raises _StoppedError."""
    wanted = layer.wanted(which)
    for algorithm in ways_of(layer.device, layer.shape, which):
        if notes.left < SECONDS_OF_A_WAY:
            raise _StoppedError(f"out of time after {len(ways)} ways, in {which} of {layer.name}")
        way = _measured(layer, algorithm, which, wanted)
        ways.append(way)
        notes.record(way)
        notes.say(_row(way))
        # at once: what comes may hang
        if way.is_wrong and sum(each.is_wrong for each in ways) <= MOST_WRONG:
            notes.attention(" ".join(_row(way).split()))
        if way.problem and _is_lost(layer.device):
            raise _StoppedError(
                f"{layer.device.name} is lost since {which} of {layer.name} by {way.way}: {way.problem}"
            )


def ways_of(device: Device, shape: ConvolutionShape, which: Pass) -> Iterator[Algorithm]:
    """Each algorithm that fits as it chooses by itself, then each of its variants."""
    for kind in algorithms().values():
        if kind.fits(shape, device) is None:
            one = kind(device, shape)
            yield one
            yield from one.variants(which).values()


def _measured(layer: LayerTrial, way: Algorithm, which: Pass, wanted: list[Array]) -> Way:
    about = (layer.name, layer.batch, which, way.name)
    allowed = max(way.tolerance[which], FLOAT32)
    try:
        error = max(layer.errors(way, which, wanted))
        seconds = layer.device.seconds(layer.body(way, which, layer.with_sum)[0])
    except Exception as problem:  # whatever one way raises, the others are measured
        text = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        return Way(*about, float("inf"), allowed, problem=text)
    return Way(*about, error, allowed, seconds * 1e6, layer.flop(which) / seconds / 1e12)


def _is_lost(device: Device) -> bool:
    """Whether the device answers no more."""
    try:
        device.synchronize()
    except Exception:
        return True
    return False


def _row(way: Way) -> str:
    numbers = f"error {way.error:.1e} of {way.allowed:.0e}{way.microseconds:10.1f} us{way.tflops:8.1f} TFLOP/s"
    return f"{way.layer:16}{way.which:16}{way.way:20}{way.problem or numbers}"


def _cudnn(layer: LayerTrial, which: Pass) -> Iterator[Cudnn]:
    if layer.device.target == "cpu" or not passes.has_cudnn():
        return
    from ttfs_cupy.benchmarks.peers import cudnn

    for numbers, allow_tf32 in (("TF32", True), ("float32", False)):
        once = cudnn.seconds(layer.shape, layer.batch, which, layer.device.name, allow_tf32=allow_tf32)
        seconds = CONVOLUTIONS[which] * once
        yield Cudnn(layer.name, layer.batch, which, numbers, seconds * 1e6, layer.flop(which) / seconds / 1e12)


def _conclude(notes: Notes, ways: list[Way], cudnn: list[Cudnn]) -> None:
    wrong = [way for way in ways if way.is_wrong]
    notes.found(f"{len(ways)} ways of {len({(way.layer, way.which) for way in ways})} passes, {len(wrong)} wrong")
    for which in PASSES:
        line = _of_pass([way for way in ways if way.which == which and not way.is_wrong], cudnn, which)
        if line:
            notes.found(line)


def _of_pass(ways: list[Way], cudnn: list[Cudnn], which: Pass) -> str:
    """All layers together: the fastest ways, what the engine's choice loses, and cuDNN."""
    by_layer: dict[str, list[Way]] = {}
    for way in ways:
        by_layer.setdefault(way.layer, []).append(way)
    if not by_layer:
        return ""
    fastest = sum(min(way.microseconds for way in some) for some in by_layer.values())
    parts = [f"{which}: the fastest ways of {len(by_layer)} layers take {fastest:.0f} us"]
    slow = []
    for layer, some in by_layer.items():
        best = min(some, key=lambda way: way.microseconds)
        chosen = next((way for way in some if way.way == "tensorcore"), None)
        if chosen and chosen.microseconds > SLOWER * best.microseconds:
            slow.append(f"{layer} {chosen.microseconds / best.microseconds:.2f} of {best.way}")
    parts += [f"untuned is slower: {', '.join(slow)}"] if slow else []
    for numbers in dict.fromkeys(figure.numbers for figure in cudnn):
        peers = [figure for figure in cudnn if (figure.which, figure.numbers) == (which, numbers)]
        parts.append(f"cuDNN {numbers} {sum(figure.microseconds for figure in peers):.0f} us")
    return "; ".join(parts)
