"""How far a step of dt can move a spike, from what the simulated neurons themselves met (docs/simulation.md, "What a
step may change").

Deviations have a sign: what is simulated less what the closed form says. Let a neuron's inputs be late by up to d each,
with positive weights that sum to P and negative ones to -N. Late positive inputs lower its potential, by up to d P, and
late negative ones raise it, by up to d N. It meets its threshold, towards which it moves at D = 1 + psp_slope S, up to
d N / D before it should or d P / D after, and is noticed up to dt later, never before. It may spike where it should not
only if its margin is within d N, and not where it should only if it lacks no more than d P.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.simulation.time_grid import TimeGrid

Floats = NDArray[np.float64]

# Of float32's sums over a layer's inputs, of both sides together, beside the sum of the magnitudes.
ROUNDING = 2.0**-17
# Of a spike time that is handed on as it is, beside the window.
OF_A_TIME = 1e-6


@dataclass(frozen=True)
class CourseOnHost:
    """A layer's course in NumPy float64 (steps int32), with what is needed to judge it."""

    steps: NDArray[np.int32]
    opening: Floats
    closing: Floats
    weight_sum: Floats
    weight_size: Floats


@dataclass(frozen=True)
class Between:
    """Where deviations may lie: from -below to above, both above 0, arrays of one shape."""

    below: Floats
    above: Floats

    def at(self, places: NDArray[np.intp]) -> "Between":
        """Of these places alone, which count in the flattened arrays."""
        return Between(self.below.reshape(-1)[places], self.above.reshape(-1)[places])

    def reshaped(self, shape: tuple[int, ...]) -> "Between":
        return Between(self.below.reshape(shape), self.above.reshape(shape))

    def share(self, deviation: Floats) -> Floats:
        """Of what is allowed on the deviation's own side; above 1 beyond it, and nan for nan."""
        return np.maximum(deviation / self.above, -deviation / self.below)


@dataclass(frozen=True)
class Bounds:
    """What may lie between a simulated layer and the closed form. potential: of its potentials. time: of its spike
    times. margin: by how much each neuron is beyond the brink of its spike; negative of a silent one."""

    potential: Between
    time: Between
    margin: Floats


def bounds_of(layer: Weighted, course: CourseOnHost, grid: TimeGrid, delay: float, largest_input: float) -> Bounds:
    """delay: by how much inputs may be later than those that the closed form was given. largest_input: their largest
    magnitude, t_win for spikes."""
    t_win, slope = grid.t_win, float(layer.neuron.psp_slope.value)
    potential = layer.potential
    charge = 0.0 if potential is None else np.abs(layer.device.to_host(potential)).astype(np.float64)
    rounding = ROUNDING + layer.algorithms.forward.tolerance["forward"]
    size = course.weight_size
    # their own rounding must not make either negative
    positive = np.maximum(size + course.weight_sum, 0) / 2
    negative = np.maximum(size - course.weight_sum, 0) / 2
    rounded = rounding * (largest_input * size + t_win * (1 + charge + slope * size))
    off = Between(delay * positive + rounded, delay * negative + rounded)
    # D, as small as rounding may make it
    growth = np.maximum(1 + slope * course.weight_sum - rounding * (1 + slope * size), 0)
    with np.errstate(divide="ignore"):
        # a potential that is too high meets its threshold too early
        early, late = off.above / growth, off.below / growth
    of_times = rounding * t_win
    time = Between(np.minimum(early + of_times, t_win), np.minimum(grid.dt * (1 + rounding) + late + of_times, t_win))
    return Bounds(off, time, np.maximum(course.opening - t_win, course.closing))


def bounds_of_pooling(steps: NDArray[np.int32], grid: TimeGrid, delay: float) -> Bounds:
    """The earliest of spikes that are late by up to `delay` is late by as much; none flips."""
    rounding = np.full(steps.shape, OF_A_TIME * grid.t_win)
    limit = Between(rounding, delay + rounding)
    return Bounds(limit, limit, np.full(steps.shape, np.inf))
