"""Every candidate for every pass of vgg11's layers (each tile of those on tensor cores): how wrong, and how fast?"""

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

# The choice among a pass's candidates should not be slower than the fastest by more.
SLOWER = 1.25
MOST_WRONG = 6
SECONDS_OF_A_CANDIDATE = 2

# A network's first layer has no data gradient.
OF_FIRST: tuple[Pass, ...] = ("forward", "weight_gradient")
COLOURS = 3


@dataclass(frozen=True)
class Candidate:
    """A pass of a layer by one algorithm, or one variant of it. error: in the norm, from float64.

    microseconds: of the whole pass.
    problem: what it raised; there are no numbers then.
    """

    layer: str
    batch_size: int
    which: str
    algorithm: str
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
    batch_size: int
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


def measure(notes: Notes, device: Device, shapes: tuple[ConvolutionShape, ...], batch_size: int) -> None:
    """Until all is measured, the time is over, or the device is lost."""
    candidates: list[Candidate] = []
    cudnn: list[Cudnn] = []
    try:
        for shape in shapes:
            layer = LayerTrial(device, shape, batch_size)
            for which in OF_FIRST if shape.in_channels == COLOURS else PASSES:
                _measure_pass(notes, layer, which, candidates)
                for figure in _cudnn(layer, which):
                    cudnn.append(figure)
                    notes.record(figure)
    except _StoppedError as over:
        notes.attention(str(over))
    finally:
        _conclude(notes, candidates, cudnn)


class _StoppedError(Exception):
    """No more can be measured."""


def _measure_pass(notes: Notes, layer: LayerTrial, which: Pass, candidates: list[Candidate]) -> None:
    """Appends to the candidates. Raises _StoppedError."""
    wanted = layer.wanted(which)
    for algorithm in candidates_of(layer.device, layer.shape, which):
        if notes.left < SECONDS_OF_A_CANDIDATE:
            raise _StoppedError(f"out of time after {len(candidates)} candidates, in {which} of {layer.name}")
        candidate = _measured(layer, algorithm, which, wanted)
        candidates.append(candidate)
        notes.record(candidate)
        notes.say(_row(candidate))
        # at once: what comes may hang
        if candidate.is_wrong and sum(each.is_wrong for each in candidates) <= MOST_WRONG:
            notes.attention(" ".join(_row(candidate).split()))
        if candidate.problem and _is_lost(layer.device):
            raise _StoppedError(
                f"{layer.device.name} is lost since {which} of {layer.name} by {candidate.algorithm}: "
                f"{candidate.problem}"
            )


def candidates_of(device: Device, shape: ConvolutionShape, which: Pass) -> Iterator[Algorithm]:
    """Each algorithm that fits as it chooses by itself, then each of its variants."""
    for kind in algorithms().values():
        if kind.fits(shape, device) is None:
            one = kind(device, shape)
            yield one
            yield from one.variants(which).values()


def _measured(layer: LayerTrial, algorithm: Algorithm, which: Pass, wanted: list[Array]) -> Candidate:
    about = (layer.name, layer.batch_size, which, algorithm.name)
    allowed = max(algorithm.tolerance[which], FLOAT32)
    try:
        error = max(layer.errors(algorithm, which, wanted))
        seconds = layer.device.seconds(layer.body(algorithm, which, layer.with_weight_sum)[0])
    except Exception as problem:  # whatever one algorithm raises, the others are measured
        text = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        return Candidate(*about, float("inf"), allowed, problem=text)
    return Candidate(*about, error, allowed, seconds * 1e6, layer.flop(which) / seconds / 1e12)


def _is_lost(device: Device) -> bool:
    """Whether the device answers no more."""
    try:
        device.synchronize()
    except Exception:
        return True
    return False


def _row(candidate: Candidate) -> str:
    error = f"error {candidate.error:.1e} of {candidate.allowed:.0e}"
    numbers = f"{error}{candidate.microseconds:10.1f} us{candidate.tflops:8.1f} TFLOP/s"
    return f"{candidate.layer:16}{candidate.which:16}{candidate.algorithm:20}{candidate.problem or numbers}"


def _cudnn(layer: LayerTrial, which: Pass) -> Iterator[Cudnn]:
    if layer.device.target == "cpu" or not passes.has_cudnn():
        return
    from ttfs_cupy.benchmarks.peers import cudnn

    for numbers, allow_tf32 in (("TF32", True), ("float32", False)):
        once = cudnn.seconds(layer.shape, layer.batch_size, which, layer.device.name, allow_tf32=allow_tf32)
        seconds = CONVOLUTIONS[which] * once
        yield Cudnn(layer.name, layer.batch_size, which, numbers, seconds * 1e6, layer.flop(which) / seconds / 1e12)


def _conclude(notes: Notes, candidates: list[Candidate], cudnn: list[Cudnn]) -> None:
    wrong = [candidate for candidate in candidates if candidate.is_wrong]
    tried = {(candidate.layer, candidate.which) for candidate in candidates}
    notes.found(f"{len(candidates)} candidates for {len(tried)} passes, {len(wrong)} wrong")
    for which in PASSES:
        right = [candidate for candidate in candidates if candidate.which == which and not candidate.is_wrong]
        line = _of_pass(right, cudnn, which)
        if line:
            notes.found(line)


def _of_pass(candidates: list[Candidate], cudnn: list[Cudnn], which: Pass) -> str:
    """All layers together: the fastest candidates, what the engine's choice loses, and cuDNN."""
    by_layer: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_layer.setdefault(candidate.layer, []).append(candidate)
    if not by_layer:
        return ""
    fastest = sum(min(candidate.microseconds for candidate in some) for some in by_layer.values())
    parts = [f"{which}: the fastest candidates of {len(by_layer)} layers take {fastest:.0f} us"]
    slow = []
    for layer, some in by_layer.items():
        best = min(some, key=lambda candidate: candidate.microseconds)
        chosen = next((candidate for candidate in some if candidate.algorithm == "tensorcore"), None)
        if chosen and chosen.microseconds > SLOWER * best.microseconds:
            slow.append(f"{layer} {chosen.microseconds / best.microseconds:.2f} of {best.algorithm}")
    parts += [f"untuned is slower: {', '.join(slow)}"] if slow else []
    for numbers in dict.fromkeys(figure.numbers for figure in cudnn):
        peers = [figure for figure in cudnn if (figure.which, figure.numbers) == (which, numbers)]
        parts.append(f"cuDNN {numbers} {sum(figure.microseconds for figure in peers):.0f} us")
    return "; ".join(parts)
