"""A layer in discrete time, step after step, in NumPy float64: all of its neurons at once."""

from typing import NamedTuple

import numpy as np

NO_SPIKE = -1


class Arrivals(NamedTuple):
    """places, arrivals (rows, patch) in the order of arrival, the rest left as blank; counts (rows)."""

    places: np.ndarray
    arrivals: np.ndarray
    counts: np.ndarray


class Course(NamedTuple):
    """What neurons did, (rows, channels)."""

    spike_steps: np.ndarray
    opening: np.ndarray
    closing: np.ndarray
    weight_sum: np.ndarray
    weight_size: np.ndarray


def in_order(steps: np.ndarray, tie: np.ndarray, blank: int) -> Arrivals:
    """Of patches (rows, patch) those that spiked, by step, and by `tie` where steps are equal."""
    rows, patch = steps.shape
    places, arrivals = np.full((2, rows, patch), blank, np.int32)
    counts = (steps != NO_SPIKE).sum(axis=1).astype(np.int32)
    for row in range(rows):
        order = [place for place in np.lexsort((tie[row], steps[row])) if steps[row, place] != NO_SPIKE]
        places[row, : len(order)] = order
        arrivals[row, : len(order)] = steps[row, order]
    return Arrivals(places, arrivals, counts)


def course(
    steps: np.ndarray, currents: np.ndarray, weights: np.ndarray, initial: np.ndarray, psp_slope: float, window: int
) -> Course:
    """Neurons through two windows. steps, currents (rows, patch): when an input arrives, and what its weight is
    multiplied by until the window opens. weights (patch, channels)."""
    slope, weight_sum, weight_size, potential = np.zeros((4, len(steps), weights.shape[1]))
    for step in range(window + 1):
        arrives = (steps == step).astype(np.float64)
        slope += (arrives * currents) @ weights
        weight_sum += arrives @ weights
        weight_size += arrives @ np.abs(weights)
        if step < window:
            potential = potential + slope
    potential = potential + window * initial
    opening, spike_steps = potential, np.full(potential.shape, NO_SPIKE, np.int32)
    for step in range(window + 1):
        threshold = window - step
        passed = potential >= threshold if step < window else potential > threshold
        spike_steps[passed & (spike_steps == NO_SPIKE)] = step
        if step < window:
            potential = potential + psp_slope * weight_sum
    return Course(spike_steps, opening, potential, weight_sum, weight_size)


def some_steps(random: np.random.Generator, *shape: int, window: int, silent: float = 0.4) -> np.ndarray:
    """int32, so few of them that spikes often come together; also at both ends of the window."""
    steps = random.integers(0, window + 1, shape)
    return np.where(random.random(shape) < silent, NO_SPIKE, steps).astype(np.int32)
