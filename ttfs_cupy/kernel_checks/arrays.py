"""Checks of arrays.cu: copying and filling."""

import numpy as np

from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.registry import check

COUNT = 70_003


@check(tolerance=0.0)
def copy(bench: Bench) -> None:
    for count in (1, COUNT):
        values = bench.normal(count)
        values[: count // 2 : 7] = np.nan
        (copied,) = bench.launch(count, values, bench.blank(count), count)
        bench.compare(copied, values)


@check(tolerance=0.0)
def fill(bench: Bench) -> None:
    for count, value in ((1, 3e-4), (COUNT, -0.0), (COUNT, np.inf)):
        (filled,) = bench.launch(count, bench.blank(count), value, count)
        bench.compare(filled, np.full(count, value, np.float32))
