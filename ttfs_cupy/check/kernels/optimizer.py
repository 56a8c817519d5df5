"""Checks of optimizer.cu and averaging.cu: Adam, SGD, signs; averages of weights, gradients of several batches."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check

COUNT = 70_003
# what comes after them, as gains do, neither decays nor has limits
DECAYED = 60_001
UNBOUNDED = (-np.inf, np.inf)


@check(tolerance=1e-6)
def adam(trial: KernelTrial) -> None:
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    for decay, l2, (low, high) in ((0.0, 0.0, UNBOUNDED), (0.1, 0.0, (-0.5, 0.75)), (0.1, 0.3, (-0.5, 0.75))):
        weights, grad, first = trial.normal(COUNT), trial.normal(COUNT, scale=0.1), trial.normal(COUNT, scale=0.1)
        second = trial.uniform(0, 0.01, COUNT)
        # never a gradient, as for a weight whose input is always silent; and one that is large beside its moments
        grad[:100], first[:100], second[:100] = 0.0, 0.0, 0.0
        grad[100:200] = 1e3
        for applied in (1.0, 0.0):
            update = np.array([applied, 0.7, 1e-3, 1.9, 30.0], np.float32)
            limits = (decay, l2, low, high, DECAYED)
            after = trial.launch(COUNT, weights, grad, first, second, update, beta1, beta2, eps, *limits, COUNT)
            if not applied:
                _require_untouched(trial, after, (weights, first, second))
                continue
            b1, b2 = float(np.float32(beta1)), float(np.float32(beta2))
            _, scale, rate, correct_m, correct_v = update.astype(np.float64)
            w, g = weights.astype(np.float64), scale * grad.astype(np.float64)
            steep = np.abs(g) + l2 * np.abs(_decaying(w))
            g += l2 * _decaying(w)
            m = b1 * first.astype(np.float64) + (1 - b1) * g
            v = b2 * second.astype(np.float64) + (1 - b2) * g * g
            # 1 - beta in float32 is exact, but for beta's own rounding
            step = rate * m * correct_m / (np.sqrt(v * correct_v) + float(np.float32(eps)))
            trial.compare(after[1], m, np.abs(first) + steep)
            trial.compare(after[2], v, b2 * second + (1 - b2) * steep**2)
            trial.compare(after[0], _settled(w - step, rate * decay, low, high), np.abs(w) + rate)


@check(tolerance=1e-6)
def sgd(trial: KernelTrial) -> None:
    bounds = (-0.5, 0.75)
    for momentum, decay, l2, (low, high) in (
        (0.0, 0.0, 0.0, UNBOUNDED),
        (0.9, 5e-2, 0.0, bounds),
        (0.9, 0.0, 0.3, bounds),
    ):
        weights, grad, velocity = trial.normal(COUNT), trial.normal(COUNT), trial.normal(COUNT)
        for applied in (1.0, 0.0):
            update = np.array([applied, 0.7, 1e-2, 1.0, 1.0], np.float32)
            arguments = (weights, grad, velocity, update, momentum, decay, l2, low, high, DECAYED)
            after = trial.launch(COUNT, *arguments, COUNT)
            if not applied:
                _require_untouched(trial, after, (weights, velocity))
                continue
            _, scale, rate, _, _ = update.astype(np.float64)
            w, g, v = (array.astype(np.float64) for array in (weights, grad, velocity))
            moved = float(np.float32(momentum)) * v + scale * g + l2 * _decaying(w)
            sizes = np.abs(v) + np.abs(g) + l2 * np.abs(w)
            trial.compare(after[1], moved, sizes)
            trial.compare(after[0], _settled(w - rate * moved, rate * decay, low, high), np.abs(w) + rate * sizes)


def _decaying(w: np.ndarray) -> np.ndarray:
    """The weights, and 0 in place of what does not decay."""
    return np.concatenate([w[:DECAYED], np.zeros(COUNT - DECAYED)])


def _settled(w: np.ndarray, decay: float, low: float, high: float) -> np.ndarray:
    return np.concatenate([np.clip(w[:DECAYED] - decay * w[:DECAYED], low, high), w[DECAYED:]])


def _require_untouched(trial: KernelTrial, after: list[np.ndarray], before: tuple[np.ndarray, ...]) -> None:
    same = all(one.tobytes() == other.tobytes() for one, other in zip(after, before, strict=True))
    trial.require(same, "a skipped step changes something")


@check(tolerance=0.0)
def keep_sign(trial: KernelTrial) -> None:
    weights = trial.normal(COUNT)
    # NaN has no sign to keep
    weights[:6] = 0.0, -0.0, 1e-30, -1e-30, np.nan, np.inf
    birth_sign = trial.random.choice(np.array([-1, 1], np.int8), COUNT)
    (kept,) = trial.launch(COUNT, weights, birth_sign, COUNT)
    trial.compare(kept, np.where(np.sign(weights) == birth_sign, weights, 0))


# Averages and sums of several steps and batches (averaging.cu)


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
