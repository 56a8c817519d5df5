"""Ctrl-C before each bytecode, in turn, of what the main thread does with a pool of threads. Run as a process of its
own, which says where it hangs if it does.
"""

import faulthandler
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from helpers.waiting import wait_until
from ttfs_cupy.common.machine.threads import ThreadPool

SECONDS_UNTIL_HUNG = 100.0


def is_reached(place: int, act: Callable[[], object]) -> bool:
    """Acts, with Ctrl-C before bytecode `place`; whether there are so many."""
    # one that was interrupted before may have left its own
    signal.signal(signal.SIGINT, signal.default_int_handler)
    left = itertools.count(place, -1)
    was_sent = False

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal was_sent
        frame.f_trace_opcodes = True
        if event == "opcode" and next(left) == 0:
            was_sent = True
            signal.raise_signal(signal.SIGINT)
        return trace

    # Python 3.12 looks for it as tracing begins
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        assert was_sent
    finally:
        sys.settrace(None)
    return was_sent


class CallError(Exception):
    """Of a call."""


def interrupt_run(place: int) -> bool:
    """Nothing is under way when run() is left, and the pool is as good as new."""
    return _interrupt_calls(place, lambda: None)


def interrupt_failure(place: int) -> bool:
    """Also where a call has failed already."""

    def fail() -> None:
        raise CallError

    return _interrupt_calls(place, fail)


def _interrupt_calls(place: int, first: Callable[[], None]) -> bool:
    begun: list[int] = []
    ended: list[int] = []

    def call() -> None:
        begun.append(1)
        time.sleep(0.0002)
        ended.append(1)

    with ThreadPool(2, "test") as pool:

        def act() -> None:
            with suppress(CallError):
                pool.run([first, call, call])

        reached = is_reached(place, act)
        assert len(begun) == len(ended) <= 2
        pool.run([lambda: None, call, call])
        assert pool.submit(lambda: 3).result() == 3
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("test_")]
        assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)
    return reached


def interrupt_submit(place: int) -> bool:
    """A result that was waited for can be waited for again."""
    with ThreadPool(1, "test") as pool:

        def act() -> None:
            pool.submit(time.sleep, 0.0002).result()

        reached = is_reached(place, act)
        task = pool.submit(lambda: 4)
        is_reached(place, task.result)
        assert task.result() == 4
    return reached


def interrupt_end(place: int) -> bool:
    """It can be ended again, as Python's own end does."""
    pool = ThreadPool(2, "test")
    pool.submit(lambda: None).result()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("test_")]
    assert len(threads) == 2
    reached = is_reached(place, pool.end)
    pool.end()
    # an interrupted join() may have taken a thread for one that has ended, a moment before it does
    wait_until(lambda: not any(thread.name.startswith("test_") for thread in threading.enumerate()))
    return reached


if __name__ == "__main__":
    faulthandler.dump_traceback_later(SECONDS_UNTIL_HUNG, exit=True)
    interrupt = globals()[f"interrupt_{sys.argv[1]}"]
    print(next(place for place in itertools.count() if not interrupt(place)))
