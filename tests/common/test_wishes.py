"""What signals ask of work that looks for it from time to time."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.signals import usual_signals

from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.command.interruption import Interruptions, wishes


@pytest.fixture(autouse=True)
def as_in_a_fresh_process() -> Iterator[None]:
    with usual_signals():
        yield


@pytest.fixture
def installed() -> Iterator[Interruptions]:
    """As a command has it."""
    interruptions = Interruptions()
    interruptions.install()
    try:
        yield interruptions
    finally:
        interruptions.remove(process_ends=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish(number: signal.Signals, installed: Interruptions) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), wishes() as asked:
        signal.raise_signal(number)
        done.append(asked.to_end)
    # nobody had answered it
    assert done == [True]
    assert installed.number == number


def test_a_second_one_interrupts(installed: Interruptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "SECONDS_TOGETHER", 0.0)
    done = []
    with pytest.raises(KeyboardInterrupt), wishes():
        signal.raise_signal(signal.SIGTERM)
        done.append(1)
        signal.raise_signal(signal.SIGINT)
        done.append(2)
    # the exit code is the first one's
    assert done == [1] and installed.number == signal.SIGTERM


def test_two_at_once_are_one(installed: Interruptions) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), wishes():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]


def test_where_nothing_needs_to_be_finished(installed: Interruptions) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), wishes() as asked, asked.at_once():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    with pytest.raises(KeyboardInterrupt), wishes() as asked:
        signal.raise_signal(signal.SIGINT)
        # it came before
        with asked.at_once():
            done.append(2)
    assert done == []


def test_after_the_block_a_signal_interrupts_as_ever(installed: Interruptions) -> None:
    with wishes():
        pass
    assert installed.wishes is None
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_sigusr1_asks_to_save() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with wishes() as asked:
        assert not asked.to_save
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(100):
            time.sleep(0.001)
        assert asked.to_save and not asked.to_end
    assert signal.getsignal(signal.SIGUSR1) is before


def test_in_a_notebook_control_c_is_a_wish_too() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), wishes() as asked:
        signal.raise_signal(signal.SIGINT)
        done.append(asked.to_end)
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_elses_stays() -> None:
    came = []
    signal.signal(signal.SIGINT, lambda *_: came.append(1))
    with wishes() as asked:
        signal.raise_signal(signal.SIGINT)
        assert not asked.to_end
    assert came == [1]


def test_an_error_is_not_hidden_by_a_wish(installed: Interruptions) -> None:
    with pytest.raises(ZeroDivisionError), wishes():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError


def test_other_threads_have_none() -> None:
    found = []

    def work() -> None:
        with wishes() as asked:
            found.append((asked.to_end, asked.to_save))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, False)]
