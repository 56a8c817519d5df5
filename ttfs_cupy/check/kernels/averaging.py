"""Checks of averaging.cu: averages of weights, weights exchanged, gradients of several batches."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check

COUNT = 70_003


@check(tolerance=1e-6)
def follow(trial: KernelTrial) -> None:
    least = 1e-3
    for applied, steps in ((1.0, 1), (1.0, 2), (1.0, 100), (1.0, 1 << 40), (0.0, 100)):
        average, weights = trial.normal(COUNT), trial.normal(COUNT)
        weights[:2] = np.nan, np.inf
        update, counts = np.array([applied, 0.7, 1e-3, 1.9, 30.0], np.float32), np.array([steps, 3, 2])
        (after,) = trial.launch(COUNT, average, weights, update, counts, least, COUNT)
        if not applied:
            trial.require(after.tobytes() == average.tobytes(), "a skipped step changes something")
            continue
        share = max(float(np.float32(least)), 10 / (steps + 9))
        old, new = average.astype(np.float64), weights.astype(np.float64)
        trial.compare(after, old + share * (new - old), np.abs(old) + np.abs(new))


@check(tolerance=0.0)
def exchange(trial: KernelTrial) -> None:
    for count in (1, COUNT):
        one, other = trial.normal(count), trial.normal(count)
        one[0], other[count // 2] = np.nan, -0.0
        after = trial.launch(count, one, other, count)
        same = [array.tobytes() for array in after] == [other.tobytes(), one.tobytes()]
        trial.require(same, "not bit for bit")
        trial.compare(after[0], other)
        trial.compare(after[1], one)


@check(tolerance=1e-6)
def add_gradients(trial: KernelTrial) -> None:
    for is_first in (1, 0):
        sums, grad = trial.normal(COUNT, scale=100), trial.normal(COUNT)
        sums[0], grad[1] = np.nan, np.nan
        (after,) = trial.launch(COUNT, sums, grad, 17.0, is_first, COUNT)
        before = np.zeros(COUNT) if is_first else sums.astype(np.float64)
        added = 17 * grad.astype(np.float64)
        trial.compare(after, before + added, np.abs(before) + np.abs(added))


@check(tolerance=1e-6)
def mean_gradients(trial: KernelTrial) -> None:
    sums = trial.normal(COUNT, scale=100)
    sums[0] = np.nan
    (mean,) = trial.launch(COUNT, sums, trial.blank(COUNT), 147.0, COUNT)
    trial.compare(mean, sums.astype(np.float64) / 147)
