"""Threads that all start, or none of whose work begins, and that whoever is interrupted while he waits can end."""

import atexit
import os
import threading
from collections.abc import Callable, Sequence
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


class PoolEndedError(RuntimeError):
    """Of a pool of threads, or because Python ends."""

    def __init__(self) -> None:
        super().__init__("this pool of threads has ended")


class Task(Generic[T]):
    """A call that a thread of a pool makes. is_over: whether it is over; error: what it raised then."""

    def __init__(self, call: Callable[[], T]):
        self._call: Callable[[], T] | None = call
        self._result: T | None = None
        self.error: BaseException | None = None
        # who has taken it: setdefault() is one step for other threads, and tells whoever is interrupted the same again
        self._taken: dict[str, str] = {}
        # held until it is over, which the flag says for good: whoever is interrupted may leave the lock held
        self._running = threading.Lock()
        self._running.acquire()
        self.is_over = False

    def run(self) -> None:
        """Makes the call, unless it has been dropped."""
        if not self._is_taken_by("thread"):
            return
        try:
            assert self._call is not None
            self._result = self._call()
        except BaseException as error:
            self.error = error
        finally:
            self._end()
            # the error's traceback has this frame, and would keep itself alive
            del self

    def refuse(self) -> None:
        """In place of run(), of a pool that has ended."""
        if self._is_taken_by("thread"):
            self.error = PoolEndedError()
            self._end()

    def wait(self) -> None:
        """Returns when the call is over. No other thread is to wait for it."""
        if not self.is_over:
            with self._running:
                pass

    def drop(self) -> None:
        """Has the call not be made; if it is under way, waits for its end."""
        if not self._is_taken_by("waiter"):
            self.wait()

    def result(self) -> T:
        """What the call returned, when it is over. Raises what it raised, or PoolEndedError."""
        self.wait()
        if self.error is None:
            return cast(T, self._result)
        try:
            raise self.error
        finally:
            # as above
            del self

    def _is_taken_by(self, who: str) -> bool:
        return self._taken.setdefault("by", who) == who

    def _end(self) -> None:
        self._call = None
        self.is_over = True
        self._running.release()


class _Workers:
    """The threads of a pool. They don't refer to the pool, so that they end with its last user."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        # with what each does: an interrupted join() takes a thread for one that has ended
        self.threads: list[tuple[threading.Thread, Task[None]]] = []
        self.is_closed = False
        self._process = os.getpid()
        self._starting = threading.Lock()
        _ALL.add(self)

    def start(self, count: int, name: str) -> None:
        """Those of `count` that do not run yet. Raises ThreadStartError, and PoolEndedError if that comes to pass
        meanwhile; those that have started stay."""
        # the start of a thread, too, takes locks
        with uninterrupted(), self._starting:
            self._process = os.getpid()
            while (number := len(self.threads)) < count:
                if self.is_closed:
                    raise PoolEndedError
                work = Task(self._work)
                # daemons: for others Python would wait before it calls _end_all
                thread = threading.Thread(target=work.run, name=f"{name}_{number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    if not cannot_start(error):
                        raise
                    raise ThreadStartError from error
                self.threads.append((thread, work))

    def dismiss(self) -> None:
        """Has them end after what is queued."""
        for _ in self.threads:
            self.tasks.put(None)

    def end(self) -> None:
        """Waits for the tasks under way; those queued are refused. In a forked child, which has none of the threads,
        nothing is to be done."""
        if os.getpid() != self._process:
            return
        self.is_closed = True
        self.dismiss()
        for thread, work in self.threads:
            if thread is not threading.current_thread():
                work.wait()
                thread.join()

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            if self.is_closed:
                task.refuse()
            else:
                task.run()
            # what it has computed is not to be kept until the next one
            del task
        if self.is_closed:
            # for one that was being started as the pool ended
            self.tasks.put(None)


class ThreadPool:
    """All its threads start before its first task does.

    Where one more can't be started, those that are there would work later, on arrays that may be gone by then.

    Python's own pool is not taken: Ctrl-C within its submit() or result() may leave a lock held, for which its threads
    wait for ever, and the end of the pool for them. Here, whoever waits holds nothing that a thread needs.
    """

    def __init__(self, count: int, name: str):
        self._count, self._name = count, name
        self._workers = _Workers()

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> Task[T]:
        """Has a thread call it. Raises ThreadStartError, and PoolEndedError after the end."""
        self._start()
        task = Task(lambda: function(*arguments, **options))
        self._put([task])
        return task

    def run(self, calls: Sequence[Callable[[], object]]) -> None:
        """Makes all calls, the first one in this thread, and returns when the last is over.

        Where the first fails, or this thread is interrupted, calls that have not begun are not made, and those under
        way are waited for. Raises what the first call that failed raised, and as submit() does; a call alone needs no
        thread.
        """
        tasks = [Task(call) for call in calls[1:]]
        if tasks:
            self._start()
        try:
            try:
                self._put(tasks)
                calls[0]()
                _wait_for(tasks)
            finally:
                _drop(tasks)
        finally:
            # again, where Ctrl-C comes just then
            _drop(tasks)
        error = next((task.error for task in tasks if task.error is not None), None)
        if error is not None:
            try:
                raise error
            finally:
                # its traceback has this frame, as above
                tasks.clear()
                del error

    def end(self) -> None:
        """Waits for the tasks under way, and ends the threads. Tasks that have not begun never do."""
        self._workers.end()

    def __enter__(self) -> "ThreadPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def __del__(self) -> None:
        # not there if __init__ was interrupted
        if hasattr(self, "_workers"):
            self._workers.dismiss()

    def _start(self) -> None:
        if self._workers.is_closed:
            raise PoolEndedError
        if len(self._workers.threads) < self._count:
            self._workers.start(self._count, self._name)

    def _put(self, tasks: Sequence[Task[Any]]) -> None:
        for task in tasks:
            self._workers.tasks.put(task)
        # ended meanwhile: nobody may be there any more who refuses them
        if tasks and self._workers.is_closed:
            _drop(tasks)
            raise PoolEndedError


def _wait_for(tasks: Sequence[Task[Any]]) -> None:
    for task in tasks:
        task.wait()


def _drop(tasks: Sequence[Task[Any]]) -> None:
    for task in tasks:
        task.drop()


_ALL: "WeakSet[_Workers]" = WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that computes while Python takes itself apart may crash."""
    for workers in list(_ALL):
        workers.end()
