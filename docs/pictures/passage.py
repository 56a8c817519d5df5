"""What happens in a trained network on one image: every spike, and some membrane potentials on the way to theirs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy import TrainedNetwork, UserError

Floats = NDArray[np.float64]

# Of a layer so many neurons are drawn, evenly taken.
MOST_NEURONS = 360
# How finely a potential is followed while its inputs spike, points a window.
POINTS = 48
# Potentials that a strip shows, in units of T.
LOW, HIGH = -0.45, 1.05
# A trace ends in the network's own spike to so much of a window: float32 beside float64, over the layers below.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Trace:
    """A membrane potential over its input's window and its own, (points,) each.

    times: in windows from the image's start. spike: when it met the threshold, likewise; None for silence, and for a
    readout."""

    times: Floats
    potential: Floats
    spike: float | None


@dataclass(frozen=True)
class Layer:
    """Spikes of the neurons that are drawn: (drawn,) times in windows from the image's start, infinity for silence."""

    name: str
    neurons: int
    rate: float
    spikes: Floats
    traces: tuple[Trace, ...]


@dataclass(frozen=True)
class Passage:
    """pixels: (height, width) in [0, 1]. layers: those that fire. readout: a trace for each class."""

    pixels: Floats
    layers: tuple[Layer, ...]
    readout: tuple[Trace, ...]
    name: str

    @property
    def pixel_spikes(self) -> Floats:
        """In rows."""
        return np.where(self.pixels > 0, 1 - self.pixels, np.inf).ravel()

    @property
    def windows(self) -> int:
        return len(self.layers) + 2


def passage(trained: TrainedNetwork, levels: NDArray[np.uint8]) -> Passage:
    """levels: uint8 (1, 1, height, width), as the data set has them. Raises UserError where the network is not one for
    such images, of 3x3 convolutions with latency coding and psp_slope 1, or has no neuron to show; ValueError where a
    trace does not end in its neuron's spike."""
    network = trained.network
    if network.psp_slope != 1 or network.t_win != 1 or not network.encoder.is_spike_code:
        raise UserError("the picture is of a network with latency coding, psp_slope 1 and t_win 1: the run has another")
    if network.input_shape != levels.shape[1:]:
        sizes = ["x".join(map(str, shape)) for shape in (levels.shape[1:], network.input_shape)]
        raise UserError(f"the picture is of the digits, {sizes[0]}: the run's images are {sizes[1]}")
    found = trained.predict(levels)
    pixels = levels.astype(np.float64) / trained.images.maximum
    potentials = network.device.to_host(network.forward(network.encode(pixels.astype(np.float32))))[0]
    spike_times = {name: times[0].astype(np.float64) for name, times in network.spike_times().items()}
    weights = {name: values.astype(np.float64) for name, values in network.state_dict().items()}
    others = [name for name, values in weights.items() if name != "readout.weight" and values.shape[2:] != (3, 3)]
    if others:
        raise UserError(f"the picture is of 3x3 convolutions: the run's network has {others[0]}")

    inputs = np.where(pixels[0] > 0, 1 - pixels[0], np.inf)
    layers: list[Layer] = []
    for name, times in spike_times.items():
        if f"{name}.weight" in weights:
            layers.append(_layer(name, len(layers) + 1, inputs, weights[f"{name}.weight"], times))
        inputs = times
    window = len(layers) + 1
    readout = tuple(_trace(window, inputs, of_class, None) for of_class in weights["readout.weight"])
    for trace, potential in zip(readout, potentials, strict=True):
        if abs(trace.potential[-1] - potential) > AGREEMENT * max(1, abs(potential)):
            raise ValueError(f"a readout's potential ends at {trace.potential[-1]}, the network's at {potential}")
    return Passage(pixels[0, 0], tuple(layers), readout, found.names[0])


def _layer(name: str, window: int, inputs: Floats, weights: Floats, times: Floats) -> Layer:
    drawn = np.linspace(0, times.size - 1, min(MOST_NEURONS, times.size)).round().astype(int)
    padded = np.pad(inputs, ((0, 0), (1, 1), (1, 1)), constant_values=np.inf)
    traces = []
    for place in drawn:
        channel, y, x = np.unravel_index(place, times.shape)
        own = times[channel, y, x]
        spike = window + float(own) if np.isfinite(own) else None
        traces.append(_trace(window, padded[:, y : y + 3, x : x + 3], weights[channel], spike))
    rate = float(np.isfinite(times).mean())
    return Layer(name, times.size, rate, window + times.ravel()[drawn], _chosen(name, traces, window))


def _trace(window: int, inputs: Floats, weights: Floats, spike: float | None) -> Trace:
    """The potential of one neuron: each input adds its weight to the slope as it spikes (psp_slope 1)."""
    local = np.linspace(0, 2, 2 * POINTS + 1)
    since = np.maximum(local[:, np.newaxis] - inputs.ravel(), 0)  # 0 of silence
    potential = since @ weights.ravel()
    if spike is not None:
        end = 1 + spike - window
        at_spike = float(np.maximum(end - inputs.ravel(), 0) @ weights.ravel())
        # as the window opens the potential may be beyond the threshold already; later both meet
        if end > 1 and abs(at_spike - (2 - end)) > AGREEMENT:
            raise ValueError(f"a potential is {at_spike} as its neuron fires, the threshold {2 - end}")
        before = local < end
        local, potential = np.append(local[before], end), np.append(potential[before], at_spike)
    return Trace(window - 1 + local, potential, spike)


def _chosen(name: str, traces: list[Trace], window: int) -> tuple[Trace, ...]:
    """Two that fire, early and late, and a silent one that came near: all of them within the strip."""
    seen = [trace for trace in traces if trace.potential.min() > LOW and trace.potential.max() < HIGH]
    fired = [(trace.spike - window, trace) for trace in seen if trace.spike is not None and trace.spike > window]
    silent = [trace for trace in seen if trace.spike is None]
    if not fired or not silent:
        raise UserError(f"the picture shows neurons that fire and others that do not: {name} has only one kind")
    chosen = [min(fired, key=lambda item: abs(item[0] - moment))[1] for moment in (0.3, 0.7)]
    return (*chosen, max(silent, key=lambda trace: float(trace.potential.max())))
