"""Ctrl-C and SIGTERM: how a command ends, and what a second signal does."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from helpers.signals import usual_signals

from ttfs_cupy.common.command import command_line, interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    with usual_signals():
        yield


def outcome(command: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = command_line.run(command)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (
        signal.default_int_handler,
        signal.SIG_DFL,
    )
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_both_signals_end_a_command_alike(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(lambda: signal.raise_signal(number), capsys) == (code, "interrupted\n")


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_signal_does_not_cut_the_end_short(
    first: signal.Signals, second: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = []

    def command() -> None:
        try:
            signal.raise_signal(first)
        except KeyboardInterrupt:
            signal.raise_signal(second)
            ends.append("said how to go on")
            raise
        finally:
            signal.raise_signal(second)
            ends.append("tidied up")

    assert outcome(command, capsys) == (128 + first, "interrupted\n")
    assert ends == ["said how to go on", "tidied up"]


def test_one_that_is_ignored_at_first_is_not_ignored_for_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(interruption, "SECONDS_TO_ARRIVE", 0.0)

    def command() -> None:
        for _ in range(2):
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:
                seen.append("swallowed")
        signal.raise_signal(signal.SIGINT)

    assert outcome(command, capsys) == (143, "interrupted\n")
    assert seen == ["swallowed"] * 2


def test_where_it_is_answered_no_other_is_heard(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "SECONDS_TO_ARRIVE", 0.0)
    ends = []

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            interruption.arrived()
            signal.raise_signal(signal.SIGINT)
            ends.append("said all")
            raise interruption.ToldInterrupt from None

    assert outcome(command, capsys) == (143, "")
    assert ends == ["said all"]
    # that was this command's
    assert outcome(lambda: signal.raise_signal(signal.SIGINT), capsys) == (130, "interrupted\n")


def test_another_thread_answers_for_itself_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        thread = threading.Thread(target=interruption.arrived)
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    assert outcome(command, capsys) == (143, "interrupted\n")


class Collected:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_one_that_comes_while_an_object_is_collected_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    hook = sys.unraisablehook

    def command() -> None:
        Collected()
        # Python has dropped the exception
        time.sleep(20)
        raise AssertionError

    assert outcome(command, capsys) == (143, "interrupted\n")
    assert sys.unraisablehook is hook


def test_a_signal_that_was_ignored_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = []

    def command() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("all")

    assert command_line.run(command) == 0
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_command_in_another_thread_leaves_signals_alone() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(command_line.run(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


LAST_MOMENTS = """
import atexit, signal, sys, time
from ttfs_cupy.common.command import command_line

def last():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    print("whole")

atexit.register(last)
sys.exit(command_line.run(lambda: {command}, process_ends=True))
"""


@pytest.mark.parametrize(
    ("command", "expected"),
    [("None", (0, "whole\n", "")), ("signal.raise_signal(signal.SIGINT)", (130, "whole\n", "interrupted\n"))],
)
def test_a_process_that_ends_is_not_disturbed(command: str, expected: tuple[int, str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAST_MOMENTS.format(command=command)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stdout, done.stderr) == expected
