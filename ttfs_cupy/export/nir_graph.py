"""A network as a graph of NIR's standard nodes, whose neurons compute the same in continuous time (docs/export.md).

NIR (Neuromorphic Intermediate Representation; Pedersen et al., Nature Communications 2024) knows integrators (I) and
neurons that integrate and fire (IF), and nothing of windows. So a layer is made of four things. A convolution of the
spikes charges an integrator, whose value is the layer's current, sum of w over the inputs that fired. The current
charges the IF neurons, which are held down by a charge until their window opens. As it opens a clock adds 1 to the
current: V + u >= T is V >= T - u, the falling threshold. As it closes a clock takes away more than they can regain.
Their reset does the same, so that each fires once. While psp_slope is below 1, a gate fires for each input that did, as
the window opens, and takes 1 - psp_slope of its weight away from the current.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.export.about import About, facts

NIR = ("nir, which writes the file,", "pip install 'ttfs-cupy[nir]'")

IMAGES, SPIKES, POTENTIALS = "images", "spikes", "potentials"


def content(network: Network, about: About) -> bytes:
    """The file. Its input `images` (C, H, W) is a spike for each pixel p above 0, at T (1 - p); with direct coding the
    pixels' values, held from 0 to T. Every other input is a clock. The output is `potentials`, the readout's as its
    window closes, or `spikes`, those of a readout that spikes.

    Raises UserError where nir is not installed, and for what its nodes cannot say: an input code that leaves its
    window, and kernels that are not square.
    """
    nir = imported("nir", *NIR)
    _check(network)
    drawn = _Drawing(nir, network)
    drawn.input()
    value: str = IMAGES
    for index, layer in enumerate(network.layers):
        if isinstance(layer, MaxPool):
            value = drawn.pool(layer, value)
        else:
            assert isinstance(layer, Weighted)
            codes = index == 0 and network.encoder.encoding == "direct"
            value = drawn.weighted(layer, value, is_flat=_is_flat(network.layers[:index]), is_coding=codes)
    drawn.output(value)
    graph = nir.NIRGraph(drawn.nodes, drawn.edges, metadata=facts(network, about))
    file = io.BytesIO()
    nir.write(file, graph)
    # which infers, and checks, the types of all nodes
    nir.read(io.BytesIO(file.getvalue()))
    return file.getvalue()


def _check(network: Network) -> None:
    encoder = network.encoder
    if encoder.encoding == "latency" and not encoder.is_spike_code:
        raise UserError("NIR has no word for network.standardize: pixels so coded have no spike times")
    for layer in network.layers:
        if isinstance(layer, Weighted) and not layer.flat and len(set(layer.shape.kernel)) > 1:
            height, width = layer.shape.kernel
            raise UserError(f"NIR takes a convolution's kernel as square, and that of {layer.name} is {height}x{width}")


def _is_flat(below: Sequence[Layer]) -> bool:
    return bool(below) and isinstance(below[-1], Weighted) and below[-1].flat


@dataclass
class _Drawing:
    """Nodes and edges, layer by layer; methods return the name of the node whose output is the layer's."""

    nir: ModuleType
    network: Network
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    # of layers with weights, so far: the next one's window opens at T times this
    _windows: int = 1

    def __post_init__(self) -> None:
        self._state = self.network.state_dict()
        self._t_win = float(self.network.t_win)

    def input(self) -> None:
        encoder, t_win = self.network.encoder, self._t_win
        if encoder.encoding == "direct":
            about: dict[str, Any] = {"values": "pixels", "from": 0.0, "to": t_win}
            if encoder.standardizes:
                about |= {"mean": np.float32(encoder.mean), "std": np.float32(encoder.std)}
        else:
            about = {"values": "spikes", "from": 0.0, "to": t_win}
        shape = np.array(self.network.input_shape)
        self.nodes[IMAGES] = self.nir.Input(input_type={"input": shape}, metadata=about)

    def output(self, value: str) -> None:
        closes = self._t_win * self._windows
        name = SPIKES if self.network.layers[-1].is_spiking else POTENTIALS
        about = {"from": closes - self._t_win, "to": closes}
        shape = np.array([self.network.classes])
        self._add(name, self.nir.Output(output_type={"output": shape}, metadata=about), value)

    def pool(self, layer: MaxPool, value: str) -> str:
        """A neuron for each window, which the first spike has fire, and the others do not again."""
        summed = self.nir.SumPool2d(np.array(layer.kernel), np.array(layer.stride), np.array([0, 0]))
        self._add(f"{layer.name}.sum", summed, value)
        shape, most = self._shape(layer), float(np.prod(layer.kernel))
        return self._fire(layer.name, shape, threshold=0.5, reset=-2 * most, inputs=[f"{layer.name}.sum"])

    def weighted(self, layer: Weighted, value: str, *, is_flat: bool, is_coding: bool) -> str:
        opens = self._t_win * self._windows
        self._windows += 1
        slope = layer.neuron.psp_slope.value
        inputs = [value]
        if slope < 1 and not is_coding:
            inputs.append(self._gate(layer, value, opens, 1 - slope))
        product = self._product(layer, inputs, is_flat=is_flat)
        current, shape = f"{layer.name}.current", self._shape(layer)
        if layer.is_spiking:
            return self._spiking(layer, product, current, shape, opens, is_coding=is_coding)
        self._add(current, self.nir.I(np.ones(shape, np.float32)), product)
        charged = [current, *self._charge(layer, shape, opens)]
        self._add(layer.name, self.nir.I(np.ones(shape, np.float32)), *charged)
        return layer.name

    def _spiking(
        self, layer: Weighted, product: str, current: str, shape: tuple[int, ...], opens: float, *, is_coding: bool
    ) -> str:
        name, t_win = layer.name, self._t_win
        magnitude = np.abs(self._state[f"{name}.weight"]).astype(np.float64).reshape(shape[0], -1).sum(axis=1)
        most = max(map(abs, self.network.encoder.bounds)) if is_coding else 1.0
        # Of a neuron's potential before its window opens; and of how much it may gain from then on, until all is over
        before = t_win * (magnitude * most + 1)
        windows = 1 + sum(isinstance(each, Weighted) for each in self.network.layers)
        after = 2 * t_win * windows * (1 + magnitude) + before
        opening = self._clock(f"{name}.opens", shape, opens)
        # the threshold falls by as much as this adds
        into_current = [opening] if is_coding else [product, opening]
        self._add(current, self.nir.I(np.ones(shape, np.float32)), *into_current)
        held = self._scaled(f"{name}.held", shape, -before, self._clock(f"{name}.begins", shape, 0.0))
        freed = self._scaled(f"{name}.freed", shape, before, opening)
        shut = self._scaled(f"{name}.shut", shape, -after, self._clock(f"{name}.closes", shape, opens + t_win))
        inputs = [current, held, freed, shut, *self._charge(layer, shape, opens), *([product] if is_coding else [])]
        reset = -_spread(after, shape)
        return self._fire(name, shape, threshold=t_win, reset=reset, inputs=inputs)

    def _charge(self, layer: Weighted, shape: tuple[int, ...], opens: float) -> list[str]:
        """The initial potential, as the window opens."""
        if layer.potential is None:
            return []
        charge = self._t_win * self._state[f"{layer.name}.potential"].astype(np.float64)
        opening = self._clock(f"{layer.name}.opens", shape, opens)
        return [self._scaled(f"{layer.name}.charge", shape, charge, opening)]

    def _gate(self, layer: Weighted, value: str, opens: float, share: float) -> str:
        """As the window opens, minus that share of each input that fired."""
        shape = tuple(int(size) for size in self.nodes[value].output_type["output"])
        clock = self._clock(f"{layer.name}.gate.opens", shape, opens)
        gate = self._fire(f"{layer.name}.gate", shape, threshold=1.5, reset=0.0, inputs=[value, clock])
        return self._scaled(f"{layer.name}.gate.share", shape, np.full(shape[0], -share), gate)

    def _product(self, layer: Weighted, inputs: Sequence[str], *, is_flat: bool) -> str:
        name, weight, shape = f"{layer.name}.weights", self._state[f"{layer.name}.weight"], layer.shape
        if not layer.flat:
            size, bias = shape.in_size, np.zeros(shape.out_channels, np.float32)
            node = self.nir.Conv2d(size, weight, shape.stride, shape.padding, (1, 1), 1, bias)
            return self._add(name, node, *inputs)
        if not is_flat:
            unflattened = self.nodes[inputs[0]].output_type["output"]
            flatten = self.nir.Flatten({"input": np.array(unflattened)}, start_dim=0, end_dim=-1)
            inputs = [self._add(f"{layer.name}.flatten", flatten, *inputs)]
        return self._add(name, self.nir.Linear(weight), *inputs)

    def _fire(self, name: str, shape: tuple[int, ...], threshold: float, reset: Any, inputs: Sequence[str]) -> str:
        ones = np.ones(shape, np.float32)
        resets = np.broadcast_to(np.float32(reset), shape).copy()
        return self._add(name, self.nir.IF(ones, np.float32(threshold) * ones, resets), *inputs)

    def _clock(self, name: str, shape: tuple[int, ...], time: float) -> str:
        """An input whose neurons get one spike each, at that time."""
        if name not in self.nodes:
            about = {"values": "clock", "time": time}
            self.nodes[name] = self.nir.Input(input_type={"input": np.array(shape)}, metadata=about)
        return name

    def _scaled(self, name: str, shape: tuple[int, ...], by_channel: np.ndarray, value: str) -> str:
        return self._add(name, self.nir.Scale(_spread(by_channel, shape)), value)

    def _add(self, name: str, node: Any, *inputs: str) -> str:
        self.nodes[name] = node
        self.edges += [(each, name) for each in inputs]
        return name

    @staticmethod
    def _shape(layer: Layer) -> tuple[int, ...]:
        height, width, channels = layer.out_shape
        is_flat = isinstance(layer, Weighted) and layer.flat
        return (channels,) if is_flat else (channels, height, width)


def _spread(by_channel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float32 of the shape, from one value for each channel."""
    values = np.float32(by_channel).reshape(-1, *(1 for _ in shape[1:]))
    return np.broadcast_to(values, shape).copy()
