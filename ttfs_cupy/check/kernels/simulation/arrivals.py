"""Checks of the order of spikes, and of where they and currents arrive."""

import itertools

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.patches import patches_of
from ttfs_cupy.check.kernels.references.simulation import NO_SPIKE, in_order, some_steps
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.convolution.shape import ConvolutionShape

BATCH = 3
BLANK = int(np.iinfo(np.int32).max // 3)

# The usual one; uneven, with strides and rows left over; windows that do not meet; a kernel that covers its input;
# pixels by themselves
SHAPES = (
    ConvolutionShape((8, 7), 5, 1, (3, 3), (1, 1), (1, 1)),
    ConvolutionShape((9, 12), 3, 1, (2, 3), (2, 3), (0, 2)),
    ConvolutionShape((7, 7), 4, 1, (2, 2), (3, 3)),
    ConvolutionShape((3, 4), 6, 1, (3, 4)),
    ConvolutionShape((1, 1), 41, 1, (1, 1)),
)
POOLINGS = (
    ConvolutionShape((8, 6), 5, 5, (2, 2), (2, 2)),
    ConvolutionShape((9, 11), 3, 3, (2, 3), (2, 3)),
    ConvolutionShape((7, 8), 4, 4, (3, 2)),
    ConvolutionShape((9, 9), 2, 2, (2, 2), (3, 4)),
)


def _sizes(shape: ConvolutionShape) -> tuple[int, ...]:
    return (*shape.in_size, shape.in_channels, *shape.out_size, *shape.kernel, *shape.stride)


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
    for shape in SHAPES:
        steps = some_steps(trial.random, BATCH, *shape.in_size, shape.in_channels, window=window)
        neurons = np.broadcast_to(np.arange(steps[0].size).reshape(1, *steps[0].shape), steps.shape)
        wanted = in_order(patches_of(steps, shape, NO_SPIKE), patches_of(neurons, shape), BLANK)
        blanks = [trial.blank(*array.shape, dtype=np.int32) for array in wanted]
        sizes = (BATCH, window, *_sizes(shape), *shape.padding)
        results = trial.launch(BATCH * shape.out_size[0], steps, *_ordered(steps, window), *blanks, *sizes)
        for result, expected in zip(results, wanted, strict=True):
            trial.compare(result, expected)


@check(tolerance=0.0)
def deliver_currents(trial: KernelTrial) -> None:
    for shape in SHAPES:
        images = trial.unbounded(BATCH, *shape.in_size, shape.in_channels)
        images[trial.random.random(images.shape) < 0.3] = 0
        # a patch without a gap
        images[-1][images[-1] == 0] = 1
        values = patches_of(images, shape)
        steps = np.where(values != 0, 0, NO_SPIKE)
        wanted = in_order(steps, np.broadcast_to(np.arange(values.shape[1]), values.shape), BLANK)
        currents = trial.blank(*values.shape)
        for row, count in enumerate(wanted.counts):
            currents[row, :count] = values[row, wanted.places[row, :count]]
        places, arrivals, counts = (trial.blank(*array.shape, dtype=np.int32) for array in wanted)
        blanks = (places, arrivals, trial.blank(*values.shape), counts)
        sizes = (len(values), *_sizes(shape), *shape.padding)
        results = trial.launch(len(values), images, *blanks, *sizes)
        for result, expected in zip(results, (wanted.places, wanted.arrivals, currents, wanted.counts), strict=True):
            trial.compare(result, expected)


@check(tolerance=0.0)
def pass_first_spikes(trial: KernelTrial) -> None:
    window = 6
    for shape in POOLINGS:
        out, channels = shape.out_size, shape.in_channels
        steps = some_steps(trial.random, BATCH, *shape.in_size, channels, window=window, silent=0.6)
        of_window = patches_of(steps, shape).reshape(-1, shape.taps, channels)
        first = np.where(of_window == NO_SPIKE, window + 1, of_window).min(axis=1)
        wanted = np.where(first > window, NO_SPIKE, first).reshape(BATCH, *out, channels)
        blank = trial.blank(*wanted.shape, dtype=np.int32)
        sizes = (BATCH, window, *_sizes(shape))
        (result,) = trial.launch(BATCH * out[0], steps, *_ordered(steps, window), blank, *sizes)
        trial.compare(result, wanted)
