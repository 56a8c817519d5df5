"""Checks of simulation.cu: the order of spikes, where they arrive, and neurons step by step."""

import itertools

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.simulation import NO_SPIKE, Course, course, in_order, patches
from ttfs_cupy.check.kernels.registry import check

BATCH = 3
BLANK = int(np.iinfo(np.int32).max // 3)

# (in_h, in_w, channels, kernel, stride, padding): the usual one; uneven, with strides and rows left over; windows that
# do not meet; a kernel that covers its input; pixels by themselves
SHAPES = (
    (8, 7, 5, (3, 3), (1, 1), (1, 1)),
    (9, 12, 3, (2, 3), (2, 3), (0, 2)),
    (7, 7, 4, (2, 2), (3, 3), (0, 0)),
    (3, 4, 6, (3, 4), (1, 1), (0, 0)),
    (1, 1, 41, (1, 1), (1, 1), (0, 0)),
)
POOLINGS = ((8, 6, 5, (2, 2), (2, 2)), (9, 11, 3, (2, 3), (2, 3)), (7, 8, 4, (3, 2), (1, 1)), (9, 9, 2, (2, 2), (3, 4)))


def _out_size(in_h: int, in_w: int, kernel: tuple, stride: tuple, padding: tuple = (0, 0)) -> tuple[int, int]:
    return (in_h + 2 * padding[0] - kernel[0]) // stride[0] + 1, (in_w + 2 * padding[1] - kernel[1]) // stride[1] + 1


def _steps(trial: KernelTrial, *shape: int, window: int, silent: float = 0.4) -> np.ndarray:
    """Few of them, so that spikes often come together; also at both ends of the window."""
    steps = trial.random.integers(0, window + 1, shape)
    return np.where(trial.random.random(shape) < silent, NO_SPIKE, steps).astype(np.int32)


def _ordered(steps: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """ends and spikes, as order_spikes leaves them."""
    flat = steps.reshape(len(steps), -1)
    ends = np.stack([((flat != NO_SPIKE) & (flat <= k)).sum(axis=1) for k in range(window + 1)], axis=1)
    neurons = np.broadcast_to(np.arange(flat.shape[1]), flat.shape)
    return ends.astype(np.int32), in_order(flat, neurons, BLANK).places


@check(tolerance=0.0)
def order_spikes(trial: KernelTrial) -> None:
    for window, silent in itertools.product((1, 6, 300), (0.0, 0.4, 1.0)):
        steps = _steps(trial, 5, 77, window=window, silent=silent)
        ends, spikes = _ordered(steps, window)
        blanks = (trial.blank(*ends.shape, dtype=np.int32), trial.blank(*spikes.shape, dtype=np.int32))
        results = trial.launch(len(steps), steps, *blanks, *steps.shape, window)
        trial.compare(results[0], ends)
        trial.compare(results[1], spikes)


@check(tolerance=0.0)
def deliver_spikes(trial: KernelTrial) -> None:
    window = 6
    for in_h, in_w, channels, kernel, stride, padding in SHAPES:
        steps = _steps(trial, BATCH, in_h, in_w, channels, window=window)
        neurons = np.broadcast_to(np.arange(in_h * in_w * channels).reshape(1, in_h, in_w, channels), steps.shape)
        of = (kernel, stride, padding)
        wanted = in_order(patches(steps, *of, NO_SPIKE), patches(neurons, *of, 0), BLANK)
        out = _out_size(in_h, in_w, *of)
        blanks = [trial.blank(*array.shape, dtype=np.int32) for array in wanted]
        sizes = (BATCH, window, in_h, in_w, channels, *out, *kernel, *stride, *padding)
        results = trial.launch(BATCH * out[0], steps, *_ordered(steps, window), *blanks, *sizes)
        for result, expected in zip(results, wanted, strict=True):
            trial.compare(result, expected)


@check(tolerance=0.0)
def deliver_currents(trial: KernelTrial) -> None:
    for in_h, in_w, channels, kernel, stride, padding in SHAPES:
        images = trial.unbounded(BATCH, in_h, in_w, channels)
        images[trial.random.random(images.shape) < 0.3] = 0
        values = patches(images, kernel, stride, padding, 0)
        steps = np.where(values != 0, 0, NO_SPIKE)
        wanted = in_order(steps, np.broadcast_to(np.arange(values.shape[1]), values.shape), BLANK)
        currents = trial.blank(*values.shape)
        for row, count in enumerate(wanted.counts):
            currents[row, :count] = values[row, wanted.places[row, :count]]
        out = _out_size(in_h, in_w, kernel, stride, padding)
        places, arrivals, counts = (trial.blank(*array.shape, dtype=np.int32) for array in wanted)
        blanks = (places, arrivals, trial.blank(*values.shape), counts)
        sizes = (len(values), in_h, in_w, channels, *out, *kernel, *stride, *padding)
        results = trial.launch(len(values), images, *blanks, *sizes)
        for result, expected in zip(results, (wanted.places, wanted.arrivals, currents, wanted.counts), strict=True):
            trial.compare(result, expected)


@check(tolerance=0.0)
def pass_first_spikes(trial: KernelTrial) -> None:
    window = 6
    for in_h, in_w, channels, kernel, stride in POOLINGS:
        steps = _steps(trial, BATCH, in_h, in_w, channels, window=window, silent=0.6)
        out = _out_size(in_h, in_w, kernel, stride)
        of_window = patches(steps, kernel, stride, (0, 0), NO_SPIKE).reshape(-1, kernel[0] * kernel[1], channels)
        first = np.where(of_window == NO_SPIKE, window + 1, of_window).min(axis=1)
        wanted = np.where(first > window, NO_SPIKE, first).reshape(BATCH, *out, channels)
        blank = trial.blank(*wanted.shape, dtype=np.int32)
        sizes = (BATCH, window, in_h, in_w, channels, *out, *kernel, *stride)
        (result,) = trial.launch(BATCH * out[0], steps, *_ordered(steps, window), blank, *sizes)
        trial.compare(result, wanted)


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
        steps = _steps(trial, rows, patch, window=window)
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
