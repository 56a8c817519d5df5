"""What the console shows of an epoch while it goes on."""

import io
import logging
import sys
from collections.abc import Callable

import pytest

from ttfs_cupy.common.command.loudness import Loudness
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.experiment.watching import display
from ttfs_cupy.experiment.watching.display import Display

TOTALS = Totals(0.25, 0.875, 64)


class Clock:
    """A clock that goes on only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display.time, "perf_counter", clock)
    return clock


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "ttfs_cupy")
    return lambda: caplog.messages


def test_a_line_every_so_often(clock: Clock, lines: Callable[[], list[str]]) -> None:
    shown_run = Display(epochs=3, log_every=60)
    with shown_run.epoch(1, batches=200) as shown:
        told = []
        for batch in range(200):
            if shown.wants_reading():
                told.append(batch)
                shown.tell(TOTALS)
            clock.now += 1
            shown.advance(32)
    assert told == [61, 122, 183]
    assert lines()[0] == (
        "epoch 1/3, 30 %: loss 0.2500, training 87.50 %, 32 images/s, 02:19 left of the epoch, 08:59 of the run"
    )


def test_the_time_of_the_run_includes_what_lies_between_epochs(clock: Clock, lines: Callable[[], list[str]]) -> None:
    shown_run = Display(epochs=4, log_every=1)
    with shown_run.epoch(1, batches=2):
        clock.now += 10
    # validation, and writing
    clock.now += 100
    with shown_run.epoch(2, batches=10) as shown:
        clock.now += 10
        shown.advance(20)
        shown.tell(TOTALS)
    # nine batches, and two epochs of ten, 10 s each; and three times 100 s
    assert lines() == [
        "epoch 2/4, 10 %: loss 0.2500, training 87.50 %, 2 images/s, 01:30 left of the epoch, 09:50 of the run"
    ]


def test_an_epoch_that_is_gone_on_with(clock: Clock, lines: Callable[[], list[str]]) -> None:
    """The batches before took their time in another process."""
    with Display(epochs=5, log_every=1).epoch(5, batches=100, begun_at=50) as shown:
        assert not shown.wants_reading()
        for _ in range(10):
            clock.now += 0.5
            shown.advance(8)
        assert shown.wants_reading()
        shown.tell(TOTALS)
    assert lines() == [
        "epoch 5/5, 60 %: loss 0.2500, training 87.50 %, 16 images/s, 00:20 left of the epoch, 00:20 of the run"
    ]


def test_nothing_is_read_before_the_first_batch(clock: Clock) -> None:
    with Display(epochs=1, log_every=1).epoch(1, batches=2) as shown:
        clock.now += 1000
        assert not shown.wants_reading()
        shown.advance(1)
        assert shown.wants_reading()


def test_a_bar_on_a_terminal(clock: Clock, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Display(epochs=20, log_every=1e9).epoch(3, batches=100, begun_at=40) as shown:
        readings = 0
        for _ in range(20):
            if shown.wants_reading():
                readings += 1
                shown.tell(TOTALS)
            clock.now += 0.1
            shown.advance(64)
    # every third batch
    assert readings == 6
    assert lines() == []
    text = terminal.getvalue()
    assert "epoch 3/20:  40%|" in text and "/100 batches [" in text
    assert "loss 0.2500, training 87.50 %, 640 images/s, run 02:5" in text


def test_a_quiet_console_has_no_bar(
    clock: Clock, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines are for a log file."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = logging.StreamHandler(io.StringIO())
    console.addFilter(Loudness(logging.WARNING))
    logging.getLogger("ttfs_cupy").addHandler(console)
    try:
        with Display(epochs=2, log_every=5).epoch(1, batches=2) as shown:
            clock.now += 6
            shown.advance(1)
            assert shown.wants_reading()
            shown.tell(TOTALS)
    finally:
        logging.getLogger("ttfs_cupy").removeHandler(console)
    assert terminal.getvalue() == "" and len(lines()) == 1
    assert console.stream.getvalue() == ""
