"""Checks of optimizer.cu: Adam, SGD, signs."""

import numpy as np

from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.registry import check

COUNT = 70_003
UNBOUNDED = (-np.inf, np.inf)


@check(tolerance=1e-6)
def adam(bench: Bench) -> None:
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    for decay, (low, high) in ((0.0, UNBOUNDED), (0.1, (-0.5, 0.75))):
        weights, grad, first = bench.normal(COUNT), bench.normal(COUNT, scale=0.1), bench.normal(COUNT, scale=0.1)
        second = bench.uniform(0, 0.01, COUNT)
        # never a gradient, as for a weight whose input is always silent; and one that is large beside its moments
        grad[:100], first[:100], second[:100] = 0.0, 0.0, 0.0
        grad[100:200] = 1e3
        for applied in (1.0, 0.0):
            update = np.array([applied, 0.7, 1e-3, 1.9, 30.0], np.float32)
            limits = (decay, low, high)
            after = bench.launch(COUNT, weights, grad, first, second, update, beta1, beta2, eps, *limits, COUNT)
            if not applied:
                _require_untouched(bench, after, (weights, first, second))
                continue
            b1, b2 = float(np.float32(beta1)), float(np.float32(beta2))
            _, scale, rate, correct_m, correct_v = update.astype(np.float64)
            w, g = weights.astype(np.float64), scale * grad.astype(np.float64)
            m = b1 * first.astype(np.float64) + (1 - b1) * g
            v = b2 * second.astype(np.float64) + (1 - b2) * g * g
            # 1 - beta in float32 is exact, but for beta's own rounding
            step = rate * m * correct_m / (np.sqrt(v * correct_v) + float(np.float32(eps)))
            size = np.abs(first) + np.abs(g)
            bench.compare(after[1], m, size)
            bench.compare(after[2], v)
            bench.compare(after[0], _settled(w - step, rate * decay, low, high), np.abs(w) + rate)


@check(tolerance=1e-6)
def sgd(bench: Bench) -> None:
    for momentum, decay, (low, high) in ((0.0, 0.0, UNBOUNDED), (0.9, 5e-2, (-0.5, 0.75))):
        weights, grad, velocity = bench.normal(COUNT), bench.normal(COUNT), bench.normal(COUNT)
        for applied in (1.0, 0.0):
            update = np.array([applied, 0.7, 1e-2, 1.0, 1.0], np.float32)
            arguments = (weights, grad, velocity, update, momentum, decay, low, high)
            after = bench.launch(COUNT, *arguments, COUNT)
            if not applied:
                _require_untouched(bench, after, (weights, velocity))
                continue
            _, scale, rate, _, _ = update.astype(np.float64)
            w, g, v = (array.astype(np.float64) for array in (weights, grad, velocity))
            moved = float(np.float32(momentum)) * v + scale * g
            sizes = np.abs(v) + np.abs(g)
            bench.compare(after[1], moved, sizes)
            bench.compare(after[0], _settled(w - rate * moved, rate * decay, low, high), np.abs(w) + rate * sizes)


def _settled(w: np.ndarray, decay: float, low: float, high: float) -> np.ndarray:
    return np.clip(w - decay * w, low, high)


def _require_untouched(bench: Bench, after: list[np.ndarray], before: tuple[np.ndarray, ...]) -> None:
    same = all(one.tobytes() == other.tobytes() for one, other in zip(after, before, strict=True))
    bench.require(same, "a skipped step changes something")


@check(tolerance=0.0)
def keep_sign(bench: Bench) -> None:
    weights = bench.normal(COUNT)
    # NaN has no sign to keep
    weights[:6] = 0.0, -0.0, 1e-30, -1e-30, np.nan, np.inf
    birth_sign = bench.random.choice(np.array([-1, 1], np.int8), COUNT)
    (kept,) = bench.launch(COUNT, weights, birth_sign, COUNT)
    bench.compare(kept, np.where(np.sign(weights) == birth_sign, weights, 0))
