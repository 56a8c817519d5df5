"""How far a long simulation is, and how long it may still take."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from ttfs_cupy.common.command import loudness

# Steps of neurons below which there is nothing to wait for: seconds.
LONG = 1 << 35
TENTHS = 10

logger = logging.getLogger("ttfs_cupy")


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """What is told of steps that are done, of `total`: a bar on a terminal, elsewhere a line at each tenth of a long
    simulation."""
    shape = "{desc} {percentage:3.0f} %|{bar}| {elapsed}<{remaining}"
    with tqdm(total=total, desc="simulating", bar_format=shape, leave=False, disable=loudness.hides_bars()) as bar:
        lines = _Lines(total)

        def done(steps: int) -> None:
            if bar.disable:
                lines.done(steps)
            else:
                bar.update(steps)

        yield done


class _Lines:
    def __init__(self, total: int):
        self._total, self._steps, self._tenths = total, 0, 0
        self._began = time.monotonic()

    def done(self, steps: int) -> None:
        self._steps += steps
        tenths = TENTHS * self._steps // self._total
        if self._total < LONG or not self._tenths < tenths < TENTHS:
            return
        self._tenths = tenths
        left = (time.monotonic() - self._began) * (self._total / self._steps - 1)
        logger.info("               %d %% simulated, about %s to go", 10 * tenths, tqdm.format_interval(round(left)))
