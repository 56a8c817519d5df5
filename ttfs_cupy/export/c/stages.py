"""A network as the C files have it: stages in a row, with weights in the order in which C reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.engine.layers import Layer, MaxPool, Shape, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.neuron.encoding import Encoder

Pair = tuple[int, int]
ONE_PIXEL: Pair = (1, 1)


@dataclass(frozen=True)
class Window:
    """Of a pooling, (vertical, horizontal): its size, and from one to the next."""

    size: Pair = ONE_PIXEL
    stride: Pair = ONE_PIXEL

    @property
    def overlaps(self) -> bool:
        return any(stride < size for size, stride in zip(self.size, self.stride, strict=True))

    def earliest(self, spikes: np.ndarray) -> np.ndarray:
        """Of each window of spikes (N, height, width, channels), in NumPy."""
        views = np.lib.stride_tricks.sliding_window_view(spikes, self.size, axis=(1, 2))
        found: np.ndarray = views[:, :: self.stride[0], :: self.stride[1]].max(axis=(4, 5))
        return found


@dataclass(frozen=True)
class Pooling:
    """The earliest spike of each window."""

    name: str
    in_shape: Shape
    out_shape: Shape
    window: Window


@dataclass(frozen=True)
class Neurons:
    """A layer with weights. Of a full connection kernel is None: all its inputs, in the order (height, width, channel),
    are one row. Shapes are (height, width, channels), out_shape behind the pooling that is joined to it, if one is.

    weights: float32 (out, kernel_h, kernel_w, in), or (out, inputs). potential: float32 (out,), what neurons begin with
    as a share of T. slope: λ, which a coding layer has 0 of. fires: False for a readout of membrane potentials.
    """

    name: str
    in_shape: Shape
    out_shape: Shape
    weights: NDArray[np.float32]
    potential: NDArray[np.float32] | None
    slope: float
    fires: bool
    kernel: Pair | None = None
    stride: Pair = ONE_PIXEL
    padding: Pair = (0, 0)
    pool_name: str | None = None
    window: Window = Window()

    @property
    def rows(self) -> NDArray[np.float32]:
        """The weights of each neuron in a row, (out, inputs)."""
        return self.weights.reshape(len(self.weights), -1)


Stage = Neurons | Pooling


@dataclass(frozen=True)
class Stages:
    """A whole network. maximum: the pixel value that means 1.0. code: what the encoder makes of each pixel value of
    each channel, float32 (C, maximum + 1): earliness, or for a coding layer real numbers, which count as a share of T.
    """

    input_shape: Shape
    maximum: int
    encoder: Encoder
    code: NDArray[np.float32]
    slope: float
    stages: tuple[Stage, ...]

    @property
    def t_win(self) -> float:
        return self.encoder.t_win

    @property
    def weighted(self) -> list[Neurons]:
        return [stage for stage in self.stages if isinstance(stage, Neurons)]

    @property
    def readout(self) -> Neurons:
        return self.weighted[-1]

    @property
    def classes(self) -> int:
        return self.readout.out_shape[2]

    @property
    def is_sloped(self) -> bool:
        """Whether any layer needs the sum of the weights of what spiked."""
        return any(layer.slope != 0 for layer in self.weighted)


def stages_of(network: Network, maximum: int) -> Stages:
    """maximum: the pixel value that means 1.0."""
    layers, made = list(network.layers), list[Stage]()
    for index, layer in enumerate(layers):
        if isinstance(layer, MaxPool):
            if not _joins(layers, index):
                made.append(Pooling(layer.name, layer.in_shape, layer.out_shape, Window(layer.kernel, layer.stride)))
            continue
        assert isinstance(layer, Weighted)
        made.append(_neurons(network, layer, layers[index + 1] if _joins(layers, index + 1) else None))
    height, width, channels = layers[0].in_shape
    values = np.arange(maximum + 1, dtype=np.float32) / np.float32(maximum)
    code = network.encoder(np.repeat(values[:, np.newaxis], channels, axis=1))
    slope = float(network.psp_slope)
    return Stages((height, width, channels), maximum, network.encoder, code.T.copy(), slope, tuple(made))


def _joins(layers: Sequence[Layer], index: int) -> bool:
    """Whether the layer of that index is a pooling of the convolution below it, each of whose neurons it needs once."""
    if not 0 < index < len(layers):
        return False
    pool, below = layers[index], layers[index - 1]
    if not isinstance(pool, MaxPool) or not isinstance(below, Weighted) or below.flat:
        return False
    return not Window(pool.kernel, pool.stride).overlaps


def _neurons(network: Network, layer: Weighted, pool: Layer | None) -> Neurons:
    shape, to_host = layer.shape, network.device.to_host
    weights = np.ascontiguousarray(to_host(layer.weights).transpose(3, 0, 1, 2))
    potential = None if layer.potential is None else to_host(layer.potential)
    window = Window(pool.kernel, pool.stride) if isinstance(pool, MaxPool) else Window()
    return Neurons(
        layer.name,
        layer.in_shape,
        layer.out_shape if pool is None else pool.out_shape,
        weights.reshape(len(weights), -1) if layer.flat else weights,
        potential,
        layer.neuron.psp_slope.value if layer.neuron.needs_weight_sum else 0.0,
        layer.is_spiking,
        None if layer.flat else shape.kernel,
        shape.stride,
        shape.padding,
        None if pool is None else pool.name,
        window,
    )
