"""Threads that all start, or none of whose work begins."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ttfs_cupy.common.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")


class ThreadStartError(UserError):
    """A thread cannot be started: there is too little memory, or there are too many threads."""

    def __init__(self) -> None:
        super().__init__(
            "no further thread can be started: use fewer threads, end other programs, or raise the limit that is set "
            "(ulimit -v, ulimit -u, or a container's)"
        )


def cannot_start(error: BaseException) -> bool:
    """Whether an error says that a thread cannot be started: in our words, or in Python's own."""
    return isinstance(error, ThreadStartError) or str(error) == "can't start new thread"


class ThreadPool(ThreadPoolExecutor):
    """All its threads start before its first task does.

    Left to itself, a pool that cannot start one more has queued the task already: another thread runs it later, on
    arrays that may be gone by then.
    """

    _has_started = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Raises ThreadStartError."""
        if not self._has_started:
            self._start()
        return super().submit(fn, *args, **kwargs)

    def _start(self) -> None:
        everybody_is_there = threading.Event()
        try:
            while len(self._threads) < self._max_workers:
                # keeps one that is there, or starts one
                super().submit(everybody_is_there.wait)
        except RuntimeError as error:
            if not cannot_start(error):
                raise
            raise ThreadStartError from error
        finally:
            everybody_is_there.set()
        self._has_started = True
