"""Runs a graph of NIR's nodes in continuous time, exactly: from event to event, in NumPy and float64.

It knows of nodes what NIR says of them, and nothing of the network that the graph was written from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np


@dataclass(frozen=True)
class Signal:
    """Between its moments it is linear in time. moments: (K,), ascending. Each array is (K, *shape): spikes are the
    charges that come at a moment; value and slope are those right after it, up to the next one."""

    moments: np.ndarray
    spikes: np.ndarray
    value: np.ndarray
    slope: np.ndarray

    def at(self, moments: np.ndarray) -> "Signal":
        """The same signal, with more moments."""
        before = np.searchsorted(self.moments, moments, side="right") - 1
        known = (before >= 0).reshape(-1, *(1 for _ in self.value.shape[1:]))
        since = (moments - self.moments[before]).reshape(known.shape)
        slope = np.where(known, self.slope[before], 0)
        value = np.where(known, self.value[before] + since * slope, 0)
        spikes = np.zeros_like(value)
        spikes[np.searchsorted(moments, self.moments)] = self.spikes
        return Signal(moments, spikes, value, slope)


def total(signals: list[Signal]) -> Signal:
    moments = np.unique(np.concatenate([signal.moments for signal in signals]))
    spread = [signal.at(moments) for signal in signals]
    return Signal(moments, *(sum(getattr(each, name) for each in spread) for name in ("spikes", "value", "slope")))


def spikes_at(times: np.ndarray) -> Signal:
    """One spike of 1 for each neuron; none where its time is inf."""
    moments = np.unique(times[np.isfinite(times)])
    moments = moments if len(moments) else np.zeros(1)
    spikes = (times[None] == moments.reshape(-1, *(1 for _ in times.shape))).astype(np.float64)
    return Signal(moments, spikes, np.zeros_like(spikes), np.zeros_like(spikes))


def held(values: np.ndarray, start: float, end: float) -> Signal:
    value = np.stack([values, np.zeros_like(values)]).astype(np.float64)
    return Signal(np.array([start, end]), np.zeros_like(value), value, np.zeros_like(value))


def result(graph: Any, pixels: np.ndarray) -> np.ndarray:
    """The output for an image (C, H, W): potentials as the last window closes, or the earliness of its spikes."""
    (name,) = graph.outputs
    closes = float(graph.nodes[name].metadata["to"])
    signal = outputs(graph, pixels)[name]
    if name == "potentials":
        moments = np.unique(np.append(signal.moments, closes))
        found: np.ndarray = signal.at(moments).value[np.searchsorted(moments, closes)]
        return found
    return np.maximum(closes - times(signal), 0)


def times(signal: Signal) -> np.ndarray:
    """Of each neuron's spike, inf where there is none."""
    spiked = signal.spikes > 0
    first: np.ndarray = np.where(spiked.any(axis=0), signal.moments[spiked.argmax(axis=0)], np.inf)
    return first


def outputs(graph: Any, pixels: np.ndarray) -> dict[str, Signal]:
    """Every node's output for an image, as the metadata of the graph's inputs says that it is fed."""
    inputs = {}
    for name, node in graph.inputs.items():
        about = node.metadata
        shape = tuple(node.input_type["input"])
        if about["values"] == "clock":
            inputs[name] = spikes_at(np.full(shape, float(about["time"])))
        elif about["values"] == "spikes":
            late = float(about["to"]) * (1 - pixels.astype(np.float64))
            inputs[name] = spikes_at(np.where(pixels > 0, late, np.inf))
        else:
            values = pixels.astype(np.float64)
            if "mean" in about:
                values = (values - about["mean"].reshape(-1, 1, 1)) / about["std"].reshape(-1, 1, 1)
            inputs[name] = held(values, 0.0, float(about["to"]))
    (output,) = graph.outputs.values()
    return run(graph, inputs, float(output.metadata["to"]) + 1)


def run(graph: Any, inputs: Mapping[str, Signal], end: float) -> dict[str, Signal]:
    """Every node's output, up to `end`."""
    outputs: dict[str, Signal] = {}
    waiting = dict(graph.nodes)
    while waiting:
        for name, node in list(waiting.items()):
            sources = [source for source, target in graph.edges if target == name]
            if not all(source in outputs for source in sources):
                continue
            if isinstance(node, nir.Input):
                outputs[name] = inputs[name]
            else:
                outputs[name] = apply(node, total([outputs[source] for source in sources]), end)
            del waiting[name]
    return outputs


def apply(node: Any, signal: Signal, end: float) -> Signal:
    if isinstance(node, nir.Output):
        return signal
    if isinstance(node, nir.I):
        return _integrated(signal, node.r)
    if isinstance(node, nir.IF):
        return _fired(_integrated(signal, node.r), node, end)
    linear = _linear(node)
    return Signal(signal.moments, *(linear(part) for part in (signal.spikes, signal.value, signal.slope)))


def _linear(node: Any) -> Any:
    """On arrays (K, *shape)."""
    if isinstance(node, nir.Scale):
        return lambda x: x * node.scale
    if isinstance(node, nir.Flatten):
        assert node.start_dim == 0
        return lambda x: x.reshape(len(x), -1)
    if isinstance(node, nir.Linear):
        return lambda x: x @ node.weight.T.astype(np.float64)
    if isinstance(node, nir.SumPool2d):
        assert not np.any(node.padding)
        return lambda x: _windows(x, node.kernel_size, node.stride).sum(axis=(-2, -1))
    assert isinstance(node, nir.Conv2d), type(node)
    assert node.groups == 1 and np.all(np.array(node.dilation) == 1) and not np.any(node.bias)

    def convolved(x: np.ndarray) -> np.ndarray:
        (up, left) = node.padding
        padded = np.pad(x, ((0, 0), (0, 0), (up, up), (left, left)))
        windows = _windows(padded, node.weight.shape[2:], node.stride)
        return np.einsum("ncijhw,kchw->nkij", windows, node.weight.astype(np.float64), optimize=True)

    return convolved


def _windows(x: np.ndarray, kernel: Any, stride: Any) -> np.ndarray:
    down, right = (int(step) for step in stride)
    found = np.lib.stride_tricks.sliding_window_view(x, tuple(int(size) for size in kernel), axis=(2, 3))
    return found[:, :, ::down, ::right]


def _integrated(signal: Signal, r: np.ndarray) -> Signal:
    """dv/dt = r i, from 0: charges make v jump, values slope. What itself slopes would make it bend."""
    assert not signal.slope.any(), "an integrator of what is not constant between events"
    slope = r * signal.value
    since = np.diff(signal.moments).reshape(-1, *(1 for _ in r.shape))
    gained = np.concatenate([np.zeros((1, *r.shape)), np.cumsum(since * slope[:-1], axis=0)])
    value = gained + np.cumsum(r * signal.spikes, axis=0)
    return Signal(signal.moments, np.zeros_like(value), value, slope)


def _fired(potential: Signal, node: Any, end: float) -> Signal:
    """Spikes where v passes the threshold. After a spike v goes on from its reset, and must not come back."""
    ends = np.append(potential.moments[1:], end)
    shape = node.r.shape
    times, at_spike = np.full(shape, np.inf), np.zeros(shape)
    for start, stop, value, slope in zip(potential.moments, ends, potential.value, potential.slope, strict=True):
        short = node.v_threshold - value
        with np.errstate(divide="ignore", invalid="ignore"):
            wait = np.where(short < 0, 0.0, np.where(slope > 0, short / slope, np.inf))
        now = ~np.isfinite(times) & (wait < stop - start)
        times[now], at_spike[now] = start + wait[now], value[now] + wait[now] * slope[now]
        later = np.isfinite(times) & ~now
        regained = np.maximum(value, value + slope * (stop - start)) - at_spike + node.v_reset
        assert not (later & (regained > node.v_threshold)).any(), "a second spike"
    return spikes_at(times)
