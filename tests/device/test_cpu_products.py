"""Sums of the CPU's matrix products: in short pieces, so that small terms are not lost beside a large sum."""

import numpy as np
import pytest

from ttfs_cupy.device import CpuDevice, Stack

DEPTH = 4096
# half of what a sum near 1 can tell: beside it, each by itself is rounded away
SMALL = np.float32(2.0**-25)
# of a piece that begins with a large term all are
LOST = 64 * SMALL


# whole tiles of rows and columns, and what is left of both
@pytest.mark.parametrize(("rows", "columns"), [(24, 64), (5, 32), (3, 10)])
@pytest.mark.parametrize("large", ["first", "before"])
def test_small_terms_are_not_lost_beside_a_large_one(rows: int, columns: int, large: str) -> None:
    """The large one is the sum's first term, or what the product is added to."""
    a, b = np.full((rows, DEPTH), SMALL), np.ones((DEPTH, columns), np.float32)
    a[:, 0] = 1.0 if large == "first" else SMALL
    out = np.full((rows, columns), 1.0 if large == "before" else 0.0, np.float32)
    CpuDevice(1).multiply(Stack.of(a), Stack.of(b), Stack.of(out), add=True)
    exact = 1 + (DEPTH - (large == "first")) * float(SMALL)
    assert np.abs(out - exact).max() <= LOST
