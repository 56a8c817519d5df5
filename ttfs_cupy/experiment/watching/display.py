"""What the console shows of an epoch while it goes on: a bar on a terminal, now and then a line elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from ttfs_cupy.common.command import loudness
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.experiment.files.run_directory import DISPENSABLE

logger = logging.getLogger("ttfs_cupy")

# Reading the loss makes the host wait for the device, so it is read for the bar's sake only this often.
SECONDS_BETWEEN_READINGS = 0.25

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} batches [{elapsed}<{remaining}{postfix}]"


class Display:
    """Of a run of so many epochs. log_every: seconds between two lines in the log, where there is no bar.

    What lies between two epochs, such as validation, counts as much of the time that is left as it took last.
    """

    def __init__(self, epochs: int, log_every: float):
        self._epochs, self._log_every = epochs, log_every
        self._between = 0.0
        self._ended: float | None = None

    @contextmanager
    def epoch(self, number: int, batches: int, begun_at: int = 0) -> Iterator["ShownEpoch"]:
        """Shows epoch `number`, from 1, of so many batches, the first `begun_at` of which are done already."""
        now = time.perf_counter()
        if self._ended is not None:
            self._between = now - self._ended
        has_bar = loudness.hides_bars() is None and sys.stderr is not None and sys.stderr.isatty()
        name = f"epoch {number}/{self._epochs}"
        bar = tqdm(total=batches, initial=begun_at, desc=name, bar_format=_BAR, leave=False) if has_bar else None
        interval = SECONDS_BETWEEN_READINGS if has_bar else self._log_every
        try:
            yield ShownEpoch(name, batches, begun_at, self._epochs - number, self._between, interval, bar)
        finally:
            if bar is not None:
                bar.close()
            self._ended = time.perf_counter()


class ShownEpoch:
    """An epoch on the console: advance() with each batch, and tell() where wants_reading() says so."""

    def __init__(
        self,
        name: str,
        batches: int,
        begun_at: int,
        epochs_left: int,
        between: float,
        interval: float,
        bar: Any,  # tqdm, which Python 3.10 can't be told the type of
    ):
        self._name, self._batches, self._begun_at = name, batches, begun_at
        self._epochs_left, self._between = epochs_left, between
        self._interval, self._bar = interval, bar
        self._done = self._images = 0
        self._begun = self._last = time.perf_counter()

    def advance(self, images: int) -> None:
        """A batch of so many images has been worked on."""
        self._done += 1
        self._images += images
        if self._bar is not None:
            self._bar.update()

    def wants_reading(self) -> bool:
        """Whether it is time to tell() what has been reached. Never before the first batch."""
        return self._done > 0 and time.perf_counter() - self._last > self._interval

    def tell(self, totals: Totals) -> None:
        """Shows the epoch's loss and accuracy so far, how fast it goes, and how long it will take."""
        self._last = time.perf_counter()
        elapsed = self._last - self._begun
        place = self._begun_at + self._done
        epoch_left = (self._batches - place) * elapsed / self._done
        whole = self._batches * elapsed / self._done
        run_left = epoch_left + self._between + self._epochs_left * (whole + self._between)
        reached = (
            f"loss {totals.loss:.4f}, training {100 * totals.accuracy:.2f} %, {self._images / elapsed:.0f} images/s"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(f"{reached}, run {_clock(run_left)} left")
            return
        share = 100 * place // self._batches
        logger.info(
            "%s, %d %%: %s, %s left of the epoch, %s of the run",
            *(self._name, share, reached, _clock(epoch_left), _clock(run_left)),
            extra=DISPENSABLE,
        )


def _clock(seconds: float) -> str:
    """02:03, or 1:02:03."""
    return tqdm.format_interval(round(seconds))
