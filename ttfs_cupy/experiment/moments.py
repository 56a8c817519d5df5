"""When a checkpoint within an epoch is due."""

import time

from ttfs_cupy.experiment.config.values import CheckpointEvery


class Moments:
    """By the clock, or by the optimiser's steps since the run's start; None: never."""

    def __init__(self, every: CheckpointEvery | None):
        self._every = every
        self.saved()

    def saved(self) -> None:
        """A checkpoint has just been made."""
        self._since = time.monotonic()

    def by_steps(self, steps: int) -> bool:
        """Whether it is time for one because so many steps are over."""
        every = self._every
        return every is not None and every.steps is not None and steps % every.steps == 0

    def by_clock(self) -> bool:
        """Whether it is time for one because the last one is so long ago."""
        every = self._every
        if every is None or every.minutes is None:
            return False
        return time.monotonic() >= self._since + 60 * every.minutes
