"""Checks of the order of spikes, and of where they and currents arrive."""

import itertools

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.simulation import NO_SPIKE, in_order, patches, some_steps
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


def _ordered(steps: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """ends and spikes, as order_spikes leaves them."""
    flat = steps.reshape(len(steps), -1)
    ends = np.stack([((flat != NO_SPIKE) & (flat <= k)).sum(axis=1) for k in range(window + 1)], axis=1)
    neurons = np.broadcast_to(np.arange(flat.shape[1]), flat.shape)
    return ends.astype(np.int32), in_order(flat, neurons, BLANK).places


@check(tolerance=0.0)
def order_spikes(trial: KernelTrial) -> None:
    for window, silent in itertools.product((1, 6, 300), (0.0, 0.4, 1.0)):
        steps = some_steps(trial.random, 5, 77, window=window, silent=silent)
        ends, spikes = _ordered(steps, window)
        blanks = (trial.blank(*ends.shape, dtype=np.int32), trial.blank(*spikes.shape, dtype=np.int32))
        results = trial.launch(len(steps), steps, *blanks, *steps.shape, window)
        trial.compare(results[0], ends)
        trial.compare(results[1], spikes)


@check(tolerance=0.0)
def deliver_spikes(trial: KernelTrial) -> None:
    window = 6
    for in_h, in_w, channels, kernel, stride, padding in SHAPES:
        steps = some_steps(trial.random, BATCH, in_h, in_w, channels, window=window)
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
        # a patch without a gap
        images[-1][images[-1] == 0] = 1
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
        steps = some_steps(trial.random, BATCH, in_h, in_w, channels, window=window, silent=0.6)
        out = _out_size(in_h, in_w, kernel, stride)
        of_window = patches(steps, kernel, stride, (0, 0), NO_SPIKE).reshape(-1, kernel[0] * kernel[1], channels)
        first = np.where(of_window == NO_SPIKE, window + 1, of_window).min(axis=1)
        wanted = np.where(first > window, NO_SPIKE, first).reshape(BATCH, *out, channels)
        blank = trial.blank(*wanted.shape, dtype=np.int32)
        sizes = (BATCH, window, in_h, in_w, channels, *out, *kernel, *stride)
        (result,) = trial.launch(BATCH * out[0], steps, *_ordered(steps, window), blank, *sizes)
        trial.compare(result, wanted)
