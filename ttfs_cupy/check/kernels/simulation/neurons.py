"""Checks of neurons that are integrated step by step, in float32 and float64."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.simulation import NO_SPIKE, Course, course, in_order, some_steps
from ttfs_cupy.check.kernels.registry import check


@check(tolerance=2e-7)
def simulate_neurons(trial: KernelTrial) -> None:
    _simulate(trial, np.float32)


@check(tolerance=1e-14)
def simulate_neurons_double(trial: KernelTrial) -> None:
    _simulate(trial, np.float64)


def _simulate(trial: KernelTrial, dtype: type) -> None:
    rows, patch = 23, 12
    # more channels than a vector has lanes, and fewer; slopes of both neurons and between; long windows, over which
    # rounding would add up; weights of few bits, whose sums are exact, so that every step has to be right
    for channels, window, psp_slope, has_currents, is_exact in (
        (37, 5, 1.0, False, True),
        (16, 16, 0.0, False, True),
        (3, 8, 0.5, True, True),
        (5, 1, 1.0, True, True),
        (7, 20_000, 0.75, False, False),
        (33, 3000, 0.0, True, False),
    ):
        steps = some_steps(trial.random, rows, patch, window=window)
        weights, initial = trial.normal(patch, channels, scale=0.3), trial.normal(channels, scale=0.3)
        currents, scale = trial.normal(rows, patch), 0.5
        if is_exact:
            weights, initial, currents = (np.rint(8 * array) / 8 for array in (weights, initial, currents))
        # a constant current is there from the first step
        steps = np.where(steps != NO_SPIKE, 0, NO_SPIKE).astype(np.int32) if has_currents else steps
        order = in_order(steps, np.broadcast_to(np.arange(patch), steps.shape), 0)
        listed = np.take_along_axis(currents, order.places, axis=1) if has_currents else None
        weights, initial = weights.astype(dtype), initial.astype(dtype)
        charge = initial if channels % 2 else None
        factors = scale * currents.astype(np.float64) if has_currents else np.ones(steps.shape)
        of_float64 = (weights.astype(np.float64), np.zeros(channels) if charge is None else charge.astype(np.float64))
        wanted = course(steps, factors, *of_float64, psp_slope, window)
        blanks = [trial.blank(rows, channels, dtype=kind) for kind in (np.int32, dtype, dtype, dtype, dtype)]
        lists = (order.places, order.arrivals, listed, order.counts)
        sizes = (window, rows, patch, channels)
        results = trial.launch(rows * channels, *lists, weights, charge, psp_slope, scale, *blanks, *sizes)
        _compare(trial, Course(*results), wanted, window, is_exact=is_exact)


def _compare(trial: KernelTrial, found: Course, wanted: Course, window: int, *, is_exact: bool) -> None:
    trial.compare(found.weight_sum, wanted.weight_sum, 1 + wanted.weight_size)
    trial.compare(found.weight_size, wanted.weight_size, 1 + wanted.weight_size)
    # of what was summed, at most
    size = window * (3 + 3 * wanted.weight_size)
    trial.compare(found.opening, wanted.opening, size)
    trial.compare(found.closing, wanted.closing, 2 * size)
    # a potential that all but meets its threshold may do so a step later
    slack = 0 if is_exact else 1
    trial.compare(np.abs(found.spike_steps - wanted.spike_steps) > slack, np.zeros(wanted.spike_steps.shape))
