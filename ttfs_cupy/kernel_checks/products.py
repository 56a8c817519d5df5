"""Checks of products.cpp: stacks of matrix products in float64."""

from itertools import product

import numpy as np

from ttfs_cupy.device import PANEL
from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.registry import check

# (stack, rows, depth, columns): whole tiles and panels; remainders of every kind; one row, one column; more than a pass
SHAPES = ((3, 24, 70, 64), (2, 31, 5, 77), (5, 1, 9, 1), (1, 17, 1100, 41), (2, 12, 33, 48))
# Floats between two matrices of a stack, and what they hold
GAP, BETWEEN = 5, 7.0


@check(tolerance=2e-6)
def multiply(bench: Bench) -> None:
    for (stack, rows, depth, columns), transposed, panels, add in product(SHAPES, (0, 1), (0, 1), (0, 1)):
        a, b = bench.normal(stack, rows, depth), bench.normal(stack, depth, columns)
        before = bench.normal(stack, rows, columns) if add else bench.blank(stack, rows, columns)
        right = _in_panels(b) if panels else b.reshape(stack, -1)
        arrays = [_apart(a.swapaxes(1, 2) if transposed else a), _apart(right), _apart(before)]
        steps = [array.shape[1] for array in arrays]
        pairs = [value for pair in zip(arrays, steps, strict=True) for value in pair]
        work = stack * rows * columns
        (result,) = bench.launch(work, *pairs, transposed, panels, add, stack, rows, depth, columns)
        exact = a.astype(np.float64) @ b.astype(np.float64) + (before if add else 0)
        size = np.abs(a).astype(np.float64) @ np.abs(b) + (np.abs(before) if add else 0)
        # what lies between two matrices has to stay as it was
        bench.compare(result, _apart(exact), _apart(size))


def _apart(matrices: np.ndarray) -> np.ndarray:
    """Each of the stack in a row of its own, with a gap behind it."""
    flat = matrices.reshape(len(matrices), -1)
    return np.concatenate([flat, np.full((len(flat), GAP), BETWEEN, flat.dtype)], axis=1)


def _in_panels(b: np.ndarray) -> np.ndarray:
    stack, depth, columns = b.shape
    panels = -(-columns // PANEL)
    padded = np.pad(b, ((0, 0), (0, 0), (0, panels * PANEL - columns)))
    return np.ascontiguousarray(padded.reshape(stack, depth, panels, PANEL).swapaxes(1, 2)).reshape(stack, -1)
