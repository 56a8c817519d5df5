"""The grid of time that a simulation steps along."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.common.checks import check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import short
from ttfs_cupy.device import Array

NO_SPIKE = -1
# Steps of a window. The threshold falls by one each; so far float32 counts without a gap, and knows half a step, too.
MOST_STEPS = 1_000_000
# by how much of a step the last one may miss the window's end
SLACK = 1e-3
# A spike in the last step, which float32 cannot tell from one that never came, is this much of a window before its end.
LAST_INSTANT = 2.0**-23


@dataclass(frozen=True)
class TimeGrid:
    """`window` equal steps of a window of length t_win. A spike's step is 0, as its window opens, to `window`."""

    t_win: float
    window: int

    @property
    def dt(self) -> float:
        return self.t_win / self.window

    def steps(self, earliness: Array, xp: ModuleType = np) -> Array:
        """The first step that is not before each spike, int32; NO_SPIKE where earliness is 0.

        So a spike on the grid is late by less than dt, and never early: a clock notices it at its next tick, as it
        notices a potential that has met its threshold.
        """
        whole = xp.floor(earliness.astype(np.float64) * (self.window / self.t_win))
        late = self.window - xp.clip(whole, 0, self.window)
        return xp.where(earliness != 0, late, NO_SPIKE).astype(np.int32)

    def earliness(self, steps: Array, xp: ModuleType = np) -> Array:
        """float32, 0 for no spike; of a spike as the window closes the least that is not silence."""
        before_the_end = (self.window - steps).astype(np.float64) * self.dt
        spiked = xp.maximum(before_the_end, self.t_win * LAST_INSTANT)
        return xp.where(steps != NO_SPIKE, spiked, 0).astype(np.float32)

    def times(self, steps: Array, xp: ModuleType = np) -> Array:
        """Local spike times, float64 in [0, t_win]; infinite for no spike."""
        return xp.where(steps != NO_SPIKE, steps * self.dt, np.inf)


def time_grid(t_win: float, dt: object) -> TimeGrid:
    """Steps of dt. Raises UserError for what is no time step of such a window."""
    step = check_number("--dt", dt, t_win / MOST_STEPS * (1 - SLACK / MOST_STEPS), t_win)
    window = round(t_win / step)
    if abs(t_win - window * step) > SLACK * step:
        more, fewer = t_win / (window + 1), t_win / max(1, window - 1)
        near = short(t_win / window)
        raise UserError(
            f"--dt must divide the window of {short(t_win)}, and {short(step)} does not: "
            f"{near} does, with {window} steps, as do {short(more)} and {short(fewer)}"
        )
    return TimeGrid(t_win, window)
