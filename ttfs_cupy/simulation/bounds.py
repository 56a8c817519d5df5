"""How far a step of dt can move a spike, from what the simulated neurons themselves met (docs/simulation.md, "What a
step may change").

A neuron whose inputs are late by up to d each, with weights that sum to S and in magnitude to W, has a potential that
is off by at most E = d (W + |S|) / 2, the larger of what its positive and its negative weights can do. It meets its
threshold, towards which it moves at D = 1 + psp_slope S, within E / D of when it should, and is noticed up to dt later.
It may spike where it should not, or not where it should, only if its margin is within E.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.simulation.time_grid import TimeGrid

Floats = NDArray[np.float64]

# Of float32's sums over a layer's inputs, of both sides together, beside the sum of the magnitudes.
ROUNDING = 2.0**-17


@dataclass(frozen=True)
class CourseOnHost:
    """A layer's course in NumPy float64 (steps int32), with what is needed to judge it."""

    steps: NDArray[np.int32]
    opening: Floats
    closing: Floats
    weight_sum: Floats
    weight_size: Floats


@dataclass(frozen=True)
class Bounds:
    """What may lie between a simulated layer and the closed form. potential: of its potentials. time: of its spike
    times. margin: how far from the brink between spike and silence each neuron was."""

    potential: Floats
    time: Floats
    margin: Floats


def bounds_of(layer: Weighted, course: CourseOnHost, grid: TimeGrid, delay: float, largest_input: float) -> Bounds:
    """delay: by how much inputs may be later than those that the closed form was given. largest_input: their largest
    magnitude, t_win for spikes."""
    t_win, slope = grid.t_win, float(layer.neuron.psp_slope.value)
    potential = layer.potential
    charge = 0.0 if potential is None else np.abs(layer.device.to_host(potential)).astype(np.float64)
    rounding = ROUNDING + layer.algorithms.forward.tolerance["forward"]
    size = course.weight_size
    off = delay * (size + np.abs(course.weight_sum)) / 2
    off += rounding * (largest_input * size + t_win * (1 + charge + slope * size))
    # D, as small as rounding may make it
    growth = np.maximum(1 + slope * course.weight_sum - rounding * (1 + slope * size), 0)
    with np.errstate(divide="ignore"):
        time = np.minimum(grid.dt * (1 + rounding) + rounding * t_win + off / growth, t_win)
    margin = np.maximum(course.opening - t_win, course.closing)
    return Bounds(off, time, margin)
