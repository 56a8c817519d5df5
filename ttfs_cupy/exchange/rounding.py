"""What rounding explains: two outputs of one layer, computed from one input by two programs in float32.

A neuron's rule is monotone: x grows, or stays, with the drive A and with the weight sum S. So for all A and S within an
error of theirs, x lies between what the rule makes of the least and of the largest of both, jumps included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ttfs_cupy.engine.layers import Layer, Weighted

# Outputs that are so close, as a share of T or of the largest potential above 1, need no explanation.
CLOSE = 1e-5
# The error of a sum of products in float32, relative to the largest input times the sum of the weights' magnitudes.
ERROR = 5e-7
# How far potentials may be apart, relative to the largest one, or to 1 if none is above, where nothing jumps: the
# rounding of all layers together. Each by itself is held to less.
TOLERANCE = 1e-4
# What an encoder's values may be apart, likewise.
ENCODED = 1e-6
# Neurons whose sums are made at once.
MOST = 1024


@dataclass(frozen=True)
class Outcomes:
    """neurons: how many were compared. explained: of how many the outputs differ, as rounding may have them.
    unexplained: by layer, of how many they differ otherwise."""

    neurons: int = 0
    explained: int = 0
    unexplained: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Outcomes") -> "Outcomes":
        names = [*dict.fromkeys([*self.unexplained, *other.unexplained])]
        unexplained = {name: self.unexplained.get(name, 0) + other.unexplained.get(name, 0) for name in names}
        return Outcomes(self.neurons + other.neurons, self.explained + other.explained, unexplained)


def outcomes(name: str, wrong: int, neurons: int = 0, explained: int = 0) -> Outcomes:
    """Of one layer, or of what is called so: `wrong` differ otherwise than rounding may have them."""
    return Outcomes(neurons, explained, {name: wrong} if wrong else {})


def code_compared(own: np.ndarray, other: np.ndarray, unit: float = 1.0) -> Outcomes:
    """Of the input code. unit: what `other` has it multiplied by."""
    apart = np.abs(other - own * unit) > ENCODED * max(1.0, float(np.abs(own).max()))
    return outcomes("the input code", int(np.count_nonzero(apart)))


def largest_difference(own: np.ndarray, other: np.ndarray) -> float:
    """Of any value, relative to the largest of `own`, or to 1 if none is above; a NaN is no agreement."""
    scale = max(1.0, float(np.abs(own).max()))
    return float(np.nan_to_num(np.abs(own - other).max() / scale, nan=np.inf))


def compared(
    layer: Layer, state: Mapping[str, np.ndarray], below: np.ndarray, own: np.ndarray, other: np.ndarray
) -> Outcomes:
    """own, other: a layer's output for the input `below`, (N, C, H, W) or (N, n). state: of its network.

    Pooling only chooses, so there nothing may differ.
    """
    if not isinstance(layer, Weighted):
        return outcomes(layer.name, int(np.count_nonzero(own != other)), own.size)
    scale = layer.neuron.rule[2] if layer.is_spiking else max(1.0, float(np.abs(own).max()))
    # written so that NaN counts as a difference
    places = np.argwhere(~(np.abs(own - other) <= CLOSE * scale))
    explained = 0
    for start in range(0, len(places), MOST):
        these = places[start : start + MOST]
        low, high = _bounds(layer, state, below, these)
        at = tuple(these.T)
        inside = [(low - CLOSE * scale <= value) & (value <= high + CLOSE * scale) for value in (own[at], other[at])]
        explained += int(np.count_nonzero(inside[0] & inside[1]))
    return outcomes(layer.name, len(places) - explained, own.size, explained)


def _bounds(
    layer: Weighted, state: Mapping[str, np.ndarray], below: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Between what values the outputs of these neurons may lie, (images, channel, ...) each: float64."""
    channels = places[:, 1]
    weights = state[f"{layer.name}.weight"].astype(np.float64).reshape(layer.shape.out_channels, -1)[channels]
    inputs = _inputs(layer, below, places).astype(np.float64)
    _, scale, t_win, _ = layer.neuron.rule
    drive, weight_sum = scale * (weights * inputs).sum(axis=1), (weights * (inputs != 0)).sum(axis=1)
    # algorithms that transform a tile round by its largest value, whatever a neuron's own inputs are
    error_of_sum = ERROR * np.abs(weights).sum(axis=1)
    error_of_drive = scale * float(np.abs(below).max()) * error_of_sum
    if layer.potential is not None:
        charge = t_win * state[f"{layer.name}.potential"].astype(np.float64)[channels]
        drive, error_of_drive = drive + charge, error_of_drive + ERROR * np.abs(charge)
    return (
        _output(layer, drive - error_of_drive, weight_sum - error_of_sum),
        _output(layer, drive + error_of_drive, weight_sum + error_of_sum),
    )


def _inputs(layer: Weighted, below: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What these neurons are connected with, (neurons, inputs), in the order of state_dict()'s weights."""
    images = places[:, 0]
    if layer.flat:
        return below.reshape(len(below), -1)[images]
    (up, left), (down, right) = layer.shape.padding, layer.shape.stride
    padded = np.pad(below, ((0, 0), (0, 0), (up, up), (left, left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.shape.kernel, axis=(2, 3))[:, :, ::down, ::right]
    found: np.ndarray = windows[images, :, places[:, 2], places[:, 3]]
    return found.reshape(len(places), -1)


def _output(layer: Weighted, drive: np.ndarray, weight_sum: np.ndarray) -> np.ndarray:
    """The rules of docs/model.md, in float64."""
    t_win, slope = layer.neuron.rule[2], layer.neuron.psp_slope.value
    reached = drive + slope * t_win * weight_sum
    if not layer.is_spiking:
        return reached
    divisor = 1 + slope * weight_sum
    fires = (divisor > 0) & (reached > 0)
    inside = np.where(fires, np.minimum(reached / np.where(fires, divisor, 1), t_win), 0)
    return np.where(drive >= t_win, t_win, inside)
