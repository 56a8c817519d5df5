"""Checks of products.cpp: stacks of matrix products in float64."""

from itertools import product

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.device import PANEL

# (down, across, rows, depth, columns): whole tiles and panels; remainders of every kind; one row, one column; more than
# a pass
SHAPES = ((3, 1, 24, 70, 64), (1, 2, 31, 5, 77), (2, 3, 1, 9, 1), (1, 1, 17, 1100, 41), (2, 1, 12, 33, 48))
# Floats between two matrices of a stack, and what they hold
GAP, BETWEEN = 5, 7.0


@check(tolerance=2e-6)
def multiply(trial: KernelTrial) -> None:
    for (down, across, rows, depth, columns), transposed, panels, add in product(SHAPES, (0, 1), (0, 1), (0, 1)):
        count = down * across
        # a row of NaN, where there are others
        a, b = trial.normal(count, rows, depth), trial.normal(count, depth, columns)
        a[-1, rows // 2, depth // 2] = np.nan if rows > 1 else 1.0
        before = trial.normal(count, rows, columns) if add else trial.blank(count, rows, columns)
        right = _in_panels(b) if panels else b.reshape(count, -1)
        # b is the corner of a grid that is wider by one, out of one that is wider by two
        stacks = [_apart(a.swapaxes(1, 2) if transposed else a)]
        stacks += [_in_corner(_apart(array), across, more) for array, more in ((right, 1), (before, 2))]
        left = (stacks[0], stacks[0].shape[1], stacks[1], stacks[1].shape[1], across + 1)
        out = (stacks[2], stacks[2].shape[1], across + 2, transposed, panels, add)
        (result,) = trial.launch(count * -(-columns // PANEL), *left, *out, down, across, rows, depth, columns)
        exact = a.astype(np.float64) @ b.astype(np.float64) + (before if add else 0)
        size = np.abs(a).astype(np.float64) @ np.abs(b) + (np.abs(before) if add else 0)
        # what lies between two matrices, and beyond the corner, has to stay as it was
        trial.compare(result, _in_corner(_apart(exact), across, 2), _in_corner(_apart(size), across, 2))


def _in_corner(stack: np.ndarray, across: int, more: int) -> np.ndarray:
    """The matrices of a grid, `across` to a row, as the left part of a grid that has so many more to a row."""
    grid = stack.reshape(-1, across, stack.shape[1])
    return np.pad(grid, ((0, 0), (0, more), (0, 0)), constant_values=BETWEEN).reshape(-1, stack.shape[1])


def _apart(matrices: np.ndarray) -> np.ndarray:
    """Each of the stack in a row of its own, with a gap behind it."""
    flat = matrices.reshape(len(matrices), -1)
    return np.concatenate([flat, np.full((len(flat), GAP), BETWEEN, flat.dtype)], axis=1)


def _in_panels(b: np.ndarray) -> np.ndarray:
    stack, depth, columns = b.shape
    panels = -(-columns // PANEL)
    padded = np.pad(b, ((0, 0), (0, 0), (0, panels * PANEL - columns)))
    return np.ascontiguousarray(padded.reshape(stack, depth, panels, PANEL).swapaxes(1, 2)).reshape(stack, -1)
