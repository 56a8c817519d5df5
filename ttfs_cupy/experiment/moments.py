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

    def has_come(self, steps: int) -> bool:
        """Whether it is time for one when so many steps are over."""
        every = self._every
        if every is None:
            return False
        if every.steps is not None:
            return steps % every.steps == 0
        assert every.minutes is not None
        return time.monotonic() >= self._since + 60 * every.minutes
