"""Threads that all start, or none of whose work begins, and that whoever is interrupted while he waits can end."""

import atexit
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast
from weakref import WeakSet

from ttfs_cupy.common.command.interruption import uninterrupted
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


class Task(Generic[T]):
    """A call that a thread of a pool makes."""

    def __init__(self, call: Callable[[], T]):
        self._call: Callable[[], T] | None = call
        self._result: T | None = None
        self._error: BaseException | None = None
        # held from the moment somebody makes the call, or drops it
        self._taken = threading.Lock()
        # held until the call is over, which the flag says for good: whoever is interrupted may leave the lock held
        self._running = threading.Lock()
        self._running.acquire()
        self._is_over = False

    def run(self) -> None:
        """Makes the call, unless it has been dropped."""
        if not self._taken.acquire(blocking=False):
            return
        try:
            assert self._call is not None
            self._result = self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._call = None
            self._is_over = True
            self._running.release()
            # the error's traceback has this frame, and would keep itself alive
            del self

    def wait(self) -> None:
        """Returns when the call is over."""
        if not self._is_over:
            with self._running:
                pass

    def drop(self) -> None:
        """Has the call not be made; if it is under way, waits for its end."""
        if not self._taken.acquire(blocking=False):
            self.wait()

    def result(self) -> T:
        """What the call returned, when it is over. Raises what it raised."""
        self.wait()
        if self._error is None:
            return cast(T, self._result)
        try:
            raise self._error
        finally:
            # as above
            del self


@dataclass
class _Inbox:
    """What the threads of a pool have in common. They don't refer to the pool, so that it ends with its last user."""

    tasks: "SimpleQueue[Task[Any] | None]" = field(default_factory=SimpleQueue)
    is_closed: bool = False

    def work(self) -> None:
        while (task := self.tasks.get()) is not None and not self.is_closed:
            task.run()
            # what it has computed is not to be kept until the next one
            del task


class ThreadPool:
    """All its threads start before its first task does.

    Where one more can't be started, those that are there would work later, on arrays that may be gone by then.

    Python's own pool is not taken: Ctrl-C within its submit() or result() may leave a lock held, for which its threads
    wait for ever, and the end of the pool for them. Here, whoever waits holds nothing that a thread needs.
    """

    def __init__(self, count: int, name: str):
        self._count, self._name = count, name
        self._inbox = _Inbox()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        _POOLS.add(self)

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> Task[T]:
        """Has a thread call it. Raises ThreadStartError, and RuntimeError after the end."""
        self._start()
        task = Task(lambda: function(*arguments, **options))
        self._inbox.tasks.put(task)
        return task

    def run(self, calls: Sequence[Callable[[], object]]) -> None:
        """Makes all calls, the first one in this thread, and returns when the last is over, also when one of them
        fails, or this thread is interrupted. Raises what the first one that failed raised, and as submit() does."""
        self._start()
        tasks = [Task(call) for call in calls[1:]]
        try:
            for task in tasks:
                self._inbox.tasks.put(task)
            calls[0]()
            for task in tasks:
                task.wait()
        except BaseException:
            for task in tasks:
                task.drop()
            raise
        for task in tasks:
            task.result()

    def end(self) -> None:
        """Waits for the tasks under way, and ends the threads. Tasks that have not begun never do."""
        self._inbox.is_closed = True
        self._dismiss()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "ThreadPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def __del__(self) -> None:
        self._dismiss()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._inbox.tasks.put(None)

    def _start(self) -> None:
        if self._inbox.is_closed:
            raise RuntimeError("this pool of threads has ended")
        if len(self._threads) == self._count:
            return
        # the start of a thread, too, takes locks
        with uninterrupted(), self._starting:
            while (number := len(self._threads)) < self._count:
                # daemons: for others Python would wait before it calls _end_all
                thread = threading.Thread(target=self._inbox.work, name=f"{self._name}_{number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    if not cannot_start(error):
                        raise
                    raise ThreadStartError from error
                self._threads.append(thread)


_POOLS: "WeakSet[ThreadPool]" = WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that computes while Python takes itself apart may crash."""
    for pool in list(_POOLS):
        pool.end()
