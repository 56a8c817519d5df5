"""Checks of pooling.cu: the earliest spike of each window, window by window."""

import itertools
from collections.abc import Iterator

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check

BATCH = 5
SILENT = 255

# (in_h, in_w, channels, kernel, stride): the usual one; rows and columns left over; windows that overlap; windows with
# gaps between them; as many positions as a byte can tell apart
SHAPES = (
    (22, 20, 37, (2, 2), (2, 2)),
    (23, 19, 37, (2, 3), (2, 3)),
    (13, 15, 37, (3, 2), (1, 1)),
    (13, 14, 5, (2, 3), (4, 5)),
    (17, 18, 3, (15, 17), (1, 1)),
)


def _out_size(shape: tuple) -> tuple[int, int]:
    in_h, in_w, _, kernel, stride = shape
    return (in_h - kernel[0]) // stride[0] + 1, (in_w - kernel[1]) // stride[1] + 1


def _windows(shape: tuple) -> Iterator[tuple[int, int, slice, slice]]:
    """Each window: its row and column in the output, and what it covers of the input."""
    *_, (kernel_h, kernel_w), (stride_h, stride_w) = shape
    for y, x in itertools.product(*map(range, _out_size(shape))):
        top, left = y * stride_h, x * stride_w
        yield y, x, slice(top, top + kernel_h), slice(left, left + kernel_w)


def _reference(earliness: np.ndarray, shape: tuple) -> tuple[np.ndarray, np.ndarray]:
    _, _, channels, kernel, _ = shape
    pooled = np.empty((BATCH, *_out_size(shape), channels), np.float32)
    winner = np.empty(pooled.shape, np.uint8)
    for y, x, rows, columns in _windows(shape):
        window = earliness[:, rows, columns].reshape(BATCH, kernel[0] * kernel[1], channels)
        pooled[:, y, x] = window.max(axis=1)
        # argmax takes the first of those that tie, row by row
        winner[:, y, x] = np.where(pooled[:, y, x] > 0, window.argmax(axis=1), SILENT)
    return pooled, winner


def _sizes(shape: tuple) -> tuple[int, ...]:
    in_h, in_w, _, kernel, stride = shape
    return (in_h, in_w, *_out_size(shape), *kernel, *stride)


@check(tolerance=0.0)
def earliest_spike(trial: KernelTrial) -> None:
    for shape, silent in itertools.product(SHAPES, (0.4, 0.95)):
        earliness = trial.spikes(BATCH, *shape[:3], silent=silent)
        pooled, winner = _reference(earliness, shape)
        blanks = (trial.blank(*pooled.shape), trial.blank(*pooled.shape, dtype=np.uint8))
        pixels, channels = pooled.size // shape[2], shape[2]
        results = trial.launch(pooled.size, earliness, *blanks, pixels, channels, *_sizes(shape))
        trial.compare(results[0], pooled)
        trial.compare(results[1], winner)


@check(tolerance=1e-6)
def earliest_spike_gradient(trial: KernelTrial) -> None:
    for shape in SHAPES:
        earliness = trial.spikes(BATCH, *shape[:3], silent=0.8)
        _, winner = _reference(earliness, shape)
        grad_pooled = trial.unbounded(*winner.shape)
        # a gradient may arrive at a window of silence, and goes no further
        grad, sizes = _scattered(grad_pooled, winner, shape)
        pixels, channels = earliness.size // shape[2], shape[2]
        arguments = (grad_pooled, winner, trial.blank(*earliness.shape), pixels, channels)
        (result,) = trial.launch(earliness.size, *arguments, *_sizes(shape))
        trial.compare(result, grad, sizes)


def _scattered(grad_pooled: np.ndarray, winner: np.ndarray, shape: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Each window hands its gradient to its winner; also the sums of the absolute values."""
    in_h, in_w, channels, kernel, _ = shape
    grad, sizes = np.zeros((2, BATCH, in_h, in_w, channels))
    positions = np.arange(kernel[0] * kernel[1]).reshape(1, *kernel, 1)
    for y, x, rows, columns in _windows(shape):
        won = winner[:, y, x][:, None, None] == positions
        handed = np.where(won, grad_pooled[:, y, x][:, None, None].astype(np.float64), 0)
        grad[:, rows, columns] += handed
        sizes[:, rows, columns] += np.abs(handed)
    return grad, sizes
