"""Checks of arrays.cu: copying and filling."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check

COUNT = 70_003


@check(tolerance=0.0)
def copy(trial: KernelTrial) -> None:
    for count in (1, COUNT):
        values = trial.normal(count)
        values[: count // 2 : 7] = np.nan
        (copied,) = trial.launch(count, values, trial.blank(count), count)
        trial.compare(copied, values)


@check(tolerance=0.0)
def fill(trial: KernelTrial) -> None:
    for count, value in ((1, 3e-4), (COUNT, -0.0), (COUNT, np.inf)):
        (filled,) = trial.launch(count, trial.blank(count), value, count)
        trial.compare(filled, np.full(count, value, np.float32))
