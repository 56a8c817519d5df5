"""Which algorithm convolves a layer, pass by pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass, algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Device
from ttfs_cupy.errors import UserError

AUTO = "auto"
SEPARATOR = "/"


@dataclass(frozen=True)
class Passes:
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
    def joins_pooling(self) -> bool:
        return all(self.of(which).joins_pooling for which in PASSES)


def choose(name: str, device: Device, shape: ConvolutionShape, layer: str) -> Passes:
    """The algorithms of that name, or of three names with slashes between them, for a layer.

    `auto` takes the one that suits the layer's shape. Raises UserError, naming the layer, for an algorithm that is not
    known or does not fit.
    """
    names = name.split(SEPARATOR)
    names = names * len(PASSES) if len(names) == 1 else names
    if len(names) != len(PASSES):
        raise UserError(
            f"layer {layer}: convolution {name!r} must be one algorithm, or one for each of {', '.join(PASSES)}"
        )
    chosen = (_known(part, device, shape, layer)(device, shape) for part in names)
    return Passes(*chosen)


def named(convolution: str | Mapping[str, str], layer: str) -> str:
    """A layer's entry where each layer has one, `auto` where it has none; or the one name for all layers."""
    return convolution if isinstance(convolution, str) else convolution.get(layer, AUTO)


def candidates(shape: ConvolutionShape, device: Device) -> list[type[Algorithm]]:
    """Every algorithm that can do that convolution."""
    return [kind for kind in algorithms().values() if kind.fits(shape, device) is None]


def suited(shape: ConvolutionShape, device: Device) -> type[Algorithm]:
    """What is taken where nobody has timed them: by the shape alone."""
    return max((kind for kind in candidates(shape, device) if kind.suits(shape)), key=lambda kind: kind.rank)


def _known(name: str, device: Device, shape: ConvolutionShape, layer: str) -> type[Algorithm]:
    if name == AUTO:
        return suited(shape, device)
    if name not in algorithms():
        raise UserError(f"convolution must be one of {AUTO}, {', '.join(algorithms())}, not {name!r}")
    trouble = algorithms()[name].fits(shape, device)
    if trouble:
        raise UserError(f"layer {layer}: {trouble}; choose {AUTO} or gemm")
    return algorithms()[name]
