"""Checks of arrays.cu: copying, filling, looking for values that are none."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.engine.validity import INPUTS_OUTSIDE, LABELS_OUTSIDE

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


@check(tolerance=0.0)
def begin_batch(trial: KernelTrial) -> None:
    for before in ([INPUTS_OUTSIDE, INPUTS_OUTSIDE], [0, 0], [0, LABELS_OUTSIDE]):
        (marks,) = trial.launch(1, np.array(before, np.int32), 1)
        trial.compare(marks, np.array([0, before[1]]))


@check(tolerance=0.0)
def mark_outside(trial: KernelTrial) -> None:
    for count in (1, COUNT):
        within = trial.uniform(0, 2, count)
        within[0], within[-1] = 0, 2
        for place, value in (
            (0, None),
            (0, np.nan),
            (count - 1, np.inf),
            (count // 2, -1e-30),
            (count // 3, 2.0000002),
        ):
            values = within.copy()
            if value is not None:
                values[place] = value
            found = 0 if value is None else INPUTS_OUTSIDE
            for untold in (0, LABELS_OUTSIDE):
                (marks,) = trial.launch(count, values, 0.0, 2.0, np.array([0, untold], np.int32), count)
                trial.compare(marks, np.array([found, untold | found]))
