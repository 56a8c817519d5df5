"""The grid of time that a simulation steps along."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.common.checks import is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
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


def time_grid(t_win: float, dt: object, option: str = "--dt") -> TimeGrid:
    """Steps of dt, which the user gave with that option. Raises UserError for what is no time step of such a window."""
    least = t_win / MOST_STEPS
    # written so that NaN, which compares false to everything, is refused
    if not (is_number(dt) and least * (1 - SLACK / MOST_STEPS) <= dt <= t_win):  # type: ignore[operator]
        raise UserError(f"{option} must be a number from {_exact(least)} to {_exact(t_win)}, not {shown(dt)}")
    step = float(dt)  # type: ignore[arg-type]
    window = round(t_win / step)
    if not _divides(step, t_win, window):
        others = [near for near in (window + 1, window - 1) if 1 <= near <= MOST_STEPS]
        as_do = (
            f"{'as does' if len(others) == 1 else 'as do'} {' and '.join(suggested(t_win, near) for near in others)}"
        )
        raise UserError(
            f"{option} must divide the window of {_exact(t_win)}, and {_exact(step)} does not: "
            f"{suggested(t_win, window)} does, with {window} step{'' if window == 1 else 's'}, {as_do}"
        )
    return TimeGrid(t_win, window)


def suggested(t_win: float, window: int) -> str:
    """A time step that is taken for one of so many, with no more digits than that needs, and three."""
    step = t_win / window
    texts = (_without_zeros(f"{step:.{digits}g}") for digits in range(3, 17))
    return next((text for text in texts if _divides(float(text), t_win, window)), _exact(step))


def _divides(step: float, t_win: float, window: int) -> bool:
    return round(t_win / step) == window and abs(t_win - window * step) <= SLACK * step and step <= t_win


def _exact(number: float) -> str:
    """With all its digits, as people write it: 1e-6, 2, 0.3333."""
    general = f"{number:g}"
    return _without_zeros(general if float(general) == number else repr(float(number)))


def _without_zeros(text: str) -> str:
    """Of an exponent: 1e-6 for 1e-06."""
    return text.replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
