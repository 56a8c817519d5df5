"""Times the algorithms that fit a layer on the device at hand, pass by pass, and remembers which was fastest.

An algorithm is tried only after it has agreed with `gemm` within the tolerance that it states; one that deviates is
dropped, with a warning that names it. Of one that can cut its work in several ways, each is tried by itself. What was
found is kept in a file, by device, shape, batch, versions and threads, so that a network is tuned once on a machine.
"""

import hashlib
import json
import logging
import platform
import statistics
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.cache import cache_folder, places
from ttfs_cupy.common.files.reading import open_file
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.version import __version__
from ttfs_cupy.convolution.algorithm import PASSES, VARIANT, Algorithm, Pass, Precision
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION, LayerAlgorithms, candidates, variant
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation import cpu_library, source
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

logger = logging.getLogger("ttfs_cupy")

# Images of a trial: enough that what is done once a batch, such as transforming weights, has its true share.
MOST_IMAGES = 32
MOST_IMAGES_ON_GPU = 256
# Images of the comparison with gemm.
COMPARED_IMAGES = 2
ROUNDS = 3
# An algorithm that is this much slower at first sight is not timed again.
HOPELESS = 1.5
# bytes; a layer's choice has some hundreds
LARGEST_CACHE = 1 << 26


# What could not be written, by the path of its cache: whoever tunes again in this process need not time it again.
_unwritten: dict[Path | None, dict[str, dict[str, str]]] = {}


class TuningCache:
    """What was fastest, in JSON files, the first of which that knows counts; one that cannot be read counts as empty.

    path: of the one file to read and write; None for tuning.json in each place of the cache.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self._read: dict[Path, dict[str, dict[str, str]]] = {}

    def get(self, key: str) -> dict[str, str] | None:
        """Pass to algorithm, or None if that was never tuned here."""
        for choices in self._files():
            if key in choices:
                return choices[key]
        return None

    def all(self) -> dict[str, dict[str, str]]:
        """Whatever was tuned, by key."""
        return dict(ChainMap(*self._files()))

    def put(self, key: str, choice: dict[str, str]) -> None:
        """Keeps it for this process, and in a file if one can be written."""
        try:
            path = self.path or cache_folder() / self._name
            self._read[path] = {**self._choices(path), key: choice}
            write_atomically(path, json.dumps(self._read[path], indent=1, sort_keys=True).encode())
        except UserError as error:
            _unwritten.setdefault(self.path, {})[key] = choice
            logger.debug("the tuner's choice is kept by this process alone: %s", error)

    @property
    def _name(self) -> str:
        return "tuning.json" if self.path is None else self.path.name

    def _files(self) -> Iterator[dict[str, dict[str, str]]]:
        yield _unwritten.get(self.path, {})
        for folder in places() if self.path is None else (self.path.parent,):
            yield self._choices(folder / self._name)

    def _choices(self, path: Path) -> dict[str, dict[str, str]]:
        if path not in self._read:
            try:
                with open_file(path) as file:
                    content = json.loads(file.read(LARGEST_CACHE))
            # nested by the thousand, or longer than that: nothing that was written here
            except (OSError, ValueError, RecursionError):
                content = {}
            # what is not a choice would be in the way when others are put beside it
            entries = content.items() if isinstance(content, dict) else ()
            self._read[path] = {key: choice for key, choice in entries if _is_choice(choice)}
        return self._read[path]


def _is_choice(entry: object) -> TypeGuard[dict[str, str]]:
    return (
        isinstance(entry, dict) and set(entry) <= set(PASSES) and all(isinstance(name, str) for name in entry.values())
    )


class Tuner:
    """Chooses the algorithms of layers on one device."""

    def __init__(self, device: Device, cache: TuningCache | None = None):
        self._device = device
        self._cache = cache or TuningCache()

    def choose(
        self, shape: ConvolutionShape, batch_size: int, *, is_first: bool, precision: Precision = DEFAULT_PRECISION
    ) -> LayerAlgorithms:
        """The fastest algorithm of each pass; a first layer has no data gradient, whose algorithm is its forward's."""
        kinds = {kind.name: kind for kind in candidates(shape, self._device, precision)}
        if len(kinds) == 1:
            names: dict[Pass, str] = dict.fromkeys(PASSES, next(iter(kinds)))
        else:
            images = min(batch_size, MOST_IMAGES if self._device.gpu is None else MOST_IMAGES_ON_GPU)
            passes: tuple[Pass, ...] = ("forward", "weight_gradient") if is_first else PASSES
            key = self._key(shape, images, passes, precision)
            found = self._cache.get(key)
            if (
                found is None
                or set(found) != set(passes)
                or not all(self._made(kinds, found[which], shape, which) for which in passes)
            ):
                found = self._time(shape, images, passes, kinds.values())
                self._cache.put(key, found)
            names = {which: found.get(which, found["forward"].partition(VARIANT)[0]) for which in PASSES}
        chosen = {which: self._made(kinds, name, shape, which) for which, name in names.items()}
        return LayerAlgorithms(**{which: one for which, one in chosen.items() if one is not None})

    def _made(
        self, kinds: Mapping[str, type[Algorithm]], name: str, shape: ConvolutionShape, which: Pass
    ) -> Algorithm | None:
        """None where there is no such algorithm, or no such variant."""
        kind = kinds.get(name.partition(VARIANT)[0])
        return variant(kind(self._device, shape), name, which) if kind else None

    def _time(
        self, shape: ConvolutionShape, batch_size: int, passes: Iterable[Pass], kinds: Iterable[type[Algorithm]]
    ) -> dict[str, str]:
        timed, compared = (_Trial(self._device, shape, count) for count in (batch_size, COMPARED_IMAGES))
        algorithms = [kind(self._device, shape) for kind in kinds]
        chosen: dict[str, str] = {}
        candidates_of = {
            which: [candidate for one in algorithms for candidate in one.variants(which).values() or [one]]
            for which in passes
        }
        self._device.compile_ahead(
            [
                variant
                for which, found in candidates_of.items()
                for algorithm in found
                for one in (timed, compared)
                for variant in one.kernels(algorithm, which)
            ]
        )
        for which, found in candidates_of.items():
            agreeing = [algorithm for algorithm in found if compared.agrees(algorithm, which)]
            chosen[which] = self._fastest({algorithm.name: timed.body(algorithm, which) for algorithm in agreeing})
        return chosen

    def _fastest(self, agreeing: dict[str, Callable[[], None]]) -> str:
        timed = self._device.seconds
        first = {name: timed(body) for name, body in agreeing.items()}
        seconds = {name: [once] for name, once in first.items() if once <= HOPELESS * min(first.values())}
        for _ in range(ROUNDS if len(seconds) > 1 else 0):
            for name, times in seconds.items():
                times.append(timed(agreeing[name]))
        return min(seconds, key=lambda name: statistics.median(seconds[name]))

    def _key(self, shape: ConvolutionShape, batch_size: int, passes: Iterable[Pass], precision: Precision) -> str:
        device = self._device
        sizes = (shape.in_size, shape.in_channels, shape.out_channels, shape.kernel, shape.stride, shape.padding)
        where = f"{device.description}, {platform.processor() or platform.machine()}"
        engine = f"ttfs_cupy {__version__} {_digest()}"
        return f"{where}; {engine}; {sizes}; {batch_size} images; {precision}; {' '.join(passes)}"


@cache
def _digest() -> str:
    """Of all kernels, and of the rooms that number the variants and cut work: others are other algorithms. Read once,
    not for every layer."""
    texts = [cpu_library.library_source(), *(source.cuda_text(file) for file in source.files(source.COOPERATIVE))]
    here = Path(__file__).parent
    rooms = (here, here.parent / "device")
    texts += [path.read_text() for room in rooms for path in sorted(room.rglob("*.py"))]
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Given:
    """Random arrays of a layer: what its passes read."""

    images: Array
    weights: Array
    grad: Array
    output: Array
    weight_sum: Array


class _Trial:
    """One layer's passes on random images; what they read is the same for every algorithm."""

    def __init__(self, device: Device, shape: ConvolutionShape, batch_size: int):
        self._device = device
        self._shape = shape
        rng = np.random.default_rng(0)
        outer, inner = (
            (batch_size, *shape.out_size, shape.out_channels),
            (batch_size, *shape.in_size, shape.in_channels),
        )
        earliness = [rng.random(size, np.float32) * (rng.random(size, np.float32) > 0.5) for size in (inner, outer)]
        spread = np.float32(np.sqrt(2 / shape.patch_size))
        weights = spread * rng.standard_normal((*shape.kernel, *inner[3:], *outer[3:]), np.float32)
        arrays = (
            earliness[0],
            weights,
            rng.standard_normal(outer, np.float32),
            earliness[1],
            rng.random(outer, np.float32),
        )
        self._given = _Given(*(device.to_device(array) for array in arrays))
        self._neuron = SpikingNeuron(device, 1.0, PspSlope(device, 1.0))
        self._written: dict[str, Array] = {}

    def body(self, algorithm: Algorithm, which: Pass) -> Callable[[], None]:
        """Runs that pass, over and over into the same arrays."""
        return self._prepared(algorithm, which, self._neuron)[0]

    def kernels(self, algorithm: Algorithm, which: Pass) -> list[Variant]:
        """That running and comparing the pass may launch."""
        images = len(self._given.images)
        each = (
            algorithm.kernels(which, images, self._neuron, has_weight_sum=has, pooled=False) for has in (False, True)
        )
        return [variant for some in each for variant in some]

    def agrees(self, algorithm: Algorithm, which: Pass) -> bool:
        """Whether what it computes lies within its tolerance of what gemm computes."""
        if isinstance(algorithm, Gemm):
            return True
        deviation = self._deviation(algorithm, which)
        if deviation <= algorithm.tolerance[which]:
            return True
        logger.warning(
            "convolution by %s is not used for %s: its %s deviates from gemm's by %.1e, more than %.1e",
            *(algorithm.name, self._shape, which.replace("_", " "), deviation, algorithm.tolerance[which]),
        )
        return False

    def _deviation(self, algorithm: Algorithm, which: Pass) -> float:
        # psp_slope 0, where no spike makes a difference of a whole weight; and 1 for the weight sum
        neurons = [SpikingNeuron(self._device, 1.0, PspSlope(self._device, slope)) for slope in (0.0, 1.0)]
        gemm: Algorithm = Gemm(self._device, self._shape)
        worst = 0.0
        for neuron in neurons:
            results = []
            for one in (algorithm, gemm):
                body, written = self._prepared(one, which, neuron)
                for array in written:
                    array.fill(np.nan)
                body()
                self._device.synchronize()
                results.append([self._device.to_host(array).astype(np.float64) for array in written])
            worst = max(worst, *(_relative(actual, wanted) for actual, wanted in zip(*results, strict=True)))
        return worst

    def _prepared(
        self, algorithm: Algorithm, which: Pass, neuron: SpikingNeuron
    ) -> tuple[Callable[[], None], list[Array]]:
        """The pass, and the arrays that it writes and that may be compared."""
        given, xp = self._given, self._device.xp
        workspace = xp.empty(algorithm.workspace(len(given.images), which), np.float32)
        has_weight_sum = neuron.needs_weight_sum
        if which == "forward":
            places = [self._place(given.output, name) for name in ("output", "sum")]
            out = Activations(places[0], places[1] if has_weight_sum else None)
            written = [out.weight_sum if has_weight_sum else out.output]
            return lambda: algorithm.forward(given.images, given.weights, neuron, out, workspace), written
        spikes = Activations(given.output, given.weight_sum if has_weight_sum else None)
        outgoing = OutgoingGradient(neuron, given.grad, spikes)
        if which == "data_gradient":
            target = self._place(given.images, which)
            return lambda: algorithm.data_gradient(outgoing, given.weights, target, workspace), [target]
        target = self._place(given.weights, which)
        return lambda: algorithm.weight_gradient(given.images, outgoing, target, workspace), [target]

    def _place(self, like: Array, name: str) -> Array:
        """An array for what all algorithms write, one after the other: many would need much memory."""
        if name not in self._written:
            self._written[name] = self._device.xp.empty_like(like)
        return self._written[name]


def _relative(actual: np.ndarray, wanted: np.ndarray) -> float:
    """In the norm; infinite where something is not finite."""
    size = float(np.linalg.norm(wanted))
    distance = float(np.linalg.norm(actual - wanted))
    if not np.isfinite(distance):
        return float("inf")
    return distance / size if size else (float("inf") if distance else 0.0)
