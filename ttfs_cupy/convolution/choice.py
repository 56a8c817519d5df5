"""Which algorithm convolves a layer, pass by pass: by its name, or by the layer's shape. tuner.py chooses by timing."""

from collections.abc import Mapping
from dataclasses import dataclass

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.algorithm import PASSES, PRECISIONS, SPLIT, VARIANT, Algorithm, Pass, Precision
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Device

AUTO = "auto"
DEFAULT_PRECISION = SPLIT
SEPARATOR = "/"


class UnavailableError(UserError):
    """What is named for a layer does not run here: another device, or another layer, may have it."""

    def __init__(self, layer: str, trouble: str):
        super().__init__(f"layer {layer}: {trouble}")
        self.layer = layer


@dataclass(frozen=True)
class LayerAlgorithms:
    """The algorithms of a layer's three passes."""

    forward: Algorithm
    data_gradient: Algorithm
    weight_gradient: Algorithm

    def of(self, which: Pass) -> Algorithm:
        algorithm: Algorithm = getattr(self, which)
        return algorithm

    @property
    def name(self) -> str:
        """One name, or three with slashes between them: forward, data gradient, weight gradient."""
        names = [self.of(which).name for which in PASSES]
        return names[0] if len(set(names)) == 1 else SEPARATOR.join(names)

    @property
    def precision(self) -> Precision:
        """Of the least exact one."""
        return max((self.of(which).precision for which in PASSES), key=PRECISIONS.index)

    @property
    def joins_pooling(self) -> bool:
        return all(self.of(which).joins_pooling for which in PASSES)


def algorithms_named(
    name: str, device: Device, shape: ConvolutionShape, layer: str, precision: Precision = DEFAULT_PRECISION
) -> LayerAlgorithms:
    """The algorithms of that name, or of three names with slashes between them, for a layer.

    `auto` takes the one that suits the layer's shape, of those that are as exact as precision. A number behind a name
    and a colon is that of a variant. Raises UserError, naming the layer, for an algorithm that is not known or is less
    exact; UnavailableError, which is one, for an algorithm or a variant that does not fit the layer on this device.
    """
    names = name.split(SEPARATOR)
    names = names * len(PASSES) if len(names) == 1 else names
    if len(names) != len(PASSES):
        raise UserError(
            f"layer {layer}: convolution {name!r} must be one algorithm, or one for each of {', '.join(PASSES)}"
        )
    chosen = []
    for which, part in zip(PASSES, names, strict=True):
        kind = _known(part.partition(VARIANT)[0], device, shape, layer, precision)
        algorithm = variant(kind(device, shape), part, which)
        if algorithm is None:
            raise UnavailableError(layer, _no_variant(kind(device, shape), part, which))
        chosen.append(algorithm)
    return LayerAlgorithms(*chosen)


def variant(algorithm: Algorithm, name: str, which: Pass) -> Algorithm | None:
    """What a name asks for: the algorithm itself, or its variant if a number follows, None where there is none."""
    _, colon, number = name.partition(VARIANT)
    if not colon:
        return algorithm
    # Python does not read numbers of thousands of digits
    return algorithm.variants(which).get(int(number)) if number.isdecimal() and len(number) < 10 else None


def _no_variant(algorithm: Algorithm, name: str, which: Pass) -> str:
    known = [str(number) for number in algorithm.variants(which)]
    there = f"has no variant {name.partition(VARIANT)[2]!r} for its {which.replace('_', ' ')}"
    return f"{algorithm.name} {there}, but {', '.join(known) or 'none at all'}; leave the number out"


def name_for(convolution: str | Mapping[str, str], layer: str) -> str:
    """A layer's entry where each layer has one, `auto` where it has none; or the one name for all layers."""
    return convolution if isinstance(convolution, str) else convolution.get(layer, AUTO)


def connecting(device: Device, shape: ConvolutionShape, precision: Precision = DEFAULT_PRECISION) -> LayerAlgorithms:
    """The algorithms of a full connection; a kernel that covers its input makes of it a convolution."""
    kinds = [kind for kind in candidates(shape, device, precision) if kind.connects]
    best = max(kinds, key=lambda kind: kind.rank)(device, shape)
    return LayerAlgorithms(best, best, best)


def candidates(
    shape: ConvolutionShape, device: Device, precision: Precision = DEFAULT_PRECISION
) -> list[type[Algorithm]]:
    """Every algorithm that can do that convolution, at least as exact as precision."""
    kinds = algorithms().values()
    return [kind for kind in kinds if kind.fits(shape, device) is None and not _is_coarser(kind, precision)]


def suited(shape: ConvolutionShape, device: Device, precision: Precision = DEFAULT_PRECISION) -> type[Algorithm]:
    """What is taken where nobody has timed them: by the shape alone."""
    return max((kind for kind in candidates(shape, device, precision) if kind.suits(shape)), key=lambda kind: kind.rank)


def _is_coarser(kind: type[Algorithm], precision: Precision) -> bool:
    return PRECISIONS.index(kind.precision) > PRECISIONS.index(precision)


def _known(name: str, device: Device, shape: ConvolutionShape, layer: str, precision: Precision) -> type[Algorithm]:
    if name == AUTO:
        return suited(shape, device, precision)
    if name not in algorithms():
        raise UserError(f"convolution must be one of {AUTO}, {', '.join(algorithms())}, not {name!r}")
    trouble = algorithms()[name].fits(shape, device)
    if trouble:
        raise UnavailableError(layer, f"{trouble}; choose {AUTO} or gemm")
    if _is_coarser(algorithms()[name], precision):
        raise UserError(
            f"layer {layer}: {name} computes in {algorithms()[name].precision}, and precision is {precision}; "
            f"set precision to {algorithms()[name].precision}, or choose {AUTO}"
        )
    return algorithms()[name]
