"""Ctrl-C and SIGTERM: the first ends a command in order, and what follows does not cut that end short; SIGUSR1."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

# A signal that comes later than this after one that has not arrived yet raises again: whoever presses Ctrl-C once more
# has seen nothing happen.
SECONDS_TO_ARRIVE = 1.0
# Until a signal whose exception was lost is sent again.
SECONDS_TO_REPEAT = 0.02
# Signals that come together are one: a terminal and a program in between may both send it.
SECONDS_TOGETHER = 0.3


class ToldInterrupt(KeyboardInterrupt):
    """The command has said itself that it was interrupted."""


def arrived() -> None:
    """Called where a command begins to answer a signal, or puts things in order before it ends for another reason.

    From here on both signals are ignored: what they ask for is under way.
    """
    # signals are the main thread's, and so is what answers them
    if _INSTALLED and threading.current_thread() is threading.main_thread():
        _INSTALLED[-1].arrived()


def number() -> int:
    """The signal that has interrupted this command, or would."""
    return int(_INSTALLED[-1].number if _INSTALLED else signal.SIGINT)


def of_another_process(number: int) -> None:
    """That signal, which another process of this command has got, interrupts all of it: the exit code is of that."""
    if _INSTALLED:
        _INSTALLED[-1].number = number


def as_by_ctrl_c(number: int, frame: FrameType | None) -> None:
    """For another signal, which a command answers in the same way."""
    if not _INSTALLED:
        raise KeyboardInterrupt
    _INSTALLED[-1].handle(signal.SIGINT, frame)


class Interruptions:
    """Turns both signals into KeyboardInterrupt, once, between `install` and `arrived`.

    A shell that starts a job in the background may have it ignore them: then they stay ignored. Outside the main
    thread nothing can be installed, and nothing is.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._raised_at: float | None = None
        self._has_arrived = False
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        self.wishes: Wishes | None = None

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        _INSTALLED.append(self)
        sys.unraisablehook = self._unraisable
        for number in SIGNALS:
            before = signal.getsignal(number)
            # None: installed by no Python code
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self.handle)

    def arrived(self) -> None:
        """From here on both are ignored: the command is over, or ends because of the first."""
        self._has_arrived = True

    def remove(self, *, process_ends: bool) -> None:
        """Puts back what was there, or, if nothing is left but to end the process, has it end undisturbed."""
        if self in _INSTALLED:
            _INSTALLED.remove(self)
        sys.unraisablehook = self._hook
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_IGN if process_ends else before)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, unless an earlier one is being answered, or it is a wish."""
        if self._has_arrived:
            return
        now = time.monotonic()
        if self._raised_at is None:
            self.number = number
        if self.wishes is not None:
            if self.wishes.took_end():
                self._raised_at = now
                return
        elif self._raised_at is not None and now < self._raised_at + SECONDS_TO_ARRIVE:
            return
        self._raised_at = now
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """Python drops what is raised while an object is collected, in its __del__ say."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._hook(unraisable)
        elif not self._has_arrived:
            self._raised_at = None
            again = threading.Timer(SECONDS_TO_REPEAT, os.kill, (os.getpid(), self.number))
            again.daemon = True
            again.start()


# The innermost is last.
_INSTALLED: list[Interruptions] = []


class Wishes:
    """What signals ask of work that looks for it from time to time: to end (Ctrl-C, SIGTERM), and to save (SIGUSR1)."""

    def __init__(self) -> None:
        self.to_end = self.to_save = False
        # of this process's own signals: to_end may be of another process's
        self._first_at: float | None = None
        self._raises = False

    def took_end(self) -> bool:
        """Takes in a signal to end. False where it is to raise KeyboardInterrupt: in a block of at_once(), and for a
        second one: whoever sends it does not want to wait."""
        now = time.monotonic()
        self.to_end = True
        if self._first_at is None:
            self._first_at = now
            return not self._raises
        return now < self._first_at + SECONDS_TOGETHER

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A wish to end raises KeyboardInterrupt in this block, also one that was there before."""
        self._raises = True
        try:
            if self.to_end:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False


@contextmanager
def wishes() -> Iterator[Wishes]:
    """Ctrl-C and SIGTERM do not interrupt this block: they are wishes, as is SIGUSR1. A second one interrupts it.

    A wish to end that nobody has answered by raising KeyboardInterrupt raises it at the block's end. Without an
    Interruptions that is installed, Ctrl-C alone is taken so, and only where it would raise KeyboardInterrupt by
    itself. Outside the main thread there are no wishes.
    """
    asked = Wishes()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def end(number: int, frame: FrameType | None) -> None:
        if not asked.took_end():
            signal.default_int_handler(number, frame)

    def save() -> None:
        asked.to_save = True

    outer = _INSTALLED[-1] if _INSTALLED else None
    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if outer is not None:
        outer.wishes = asked
    elif is_pythons:
        signal.signal(signal.SIGINT, end)
    try:
        with at_wish_to_save(save):
            yield asked
    finally:
        if outer is not None:
            outer.wishes = None
        elif is_pythons:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked.to_end:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block, and are then answered as they would have been.

    A library that is interrupted while it is imported may take that for a part of it that is missing, and go on: the
    user's wish is lost, or half of the library stays. A thread that is being started may wait for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[tuple[int, FrameType | None]] = []
    answers = {number: signal.getsignal(number) for number in SIGNALS}
    # one that is ignored, or ends the process at once, is left alone
    ours = {int(number): answer for number, answer in answers.items() if callable(answer)}
    waits = True

    def note(number: int, frame: FrameType | None) -> None:
        # also where a signal as the block ends keeps this in its place
        if waits:
            came.append((number, frame))
        else:
            ours[number](number, frame)

    try:
        for number in ours:
            signal.signal(number, note)
        yield
    finally:
        waits = False
        for number, answer in ours.items():
            signal.signal(number, answer)
        for first, frame in came[:1]:
            ours[first](first, frame)


@contextmanager
def at_wish_to_save(answer: Callable[[], None]) -> Iterator[None]:
    """SIGUSR1 calls that in this block. Outside the main thread it does not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: answer())
    try:
        yield
    finally:
        # None: installed by no Python code
        if before is not None:
            signal.signal(signal.SIGUSR1, before)
