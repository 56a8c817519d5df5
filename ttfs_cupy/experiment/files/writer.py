"""Writes files while the run goes on."""

from collections.abc import Callable

from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.machine.threads import Task, ThreadPool, ThreadStartError


class Writer:
    """Does one piece of writing after the other in a thread of its own.

    What a piece raises is raised by the next call. In the thread nothing of the device may be touched.
    """

    def __init__(self) -> None:
        self._pool = ThreadPool(1, "ttfs-writing")
        self._task: Task[None] | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Begins a piece once the one before is over; where no thread can be started, does it here."""
        self.finish()
        try:
            # else a task might be begun of which nobody knows
            with uninterrupted():
                self._task = self._pool.submit(work)
        except ThreadStartError:
            work()

    def check(self) -> None:
        """Waits for nothing. Raises what the last piece raised, if it is over."""
        if self._task is not None and self._task.is_over:
            self.finish()

    def finish(self) -> None:
        """Returns when all is written. Raises what the last piece raised."""
        if self._task is not None:
            self._task.wait()
            task, self._task = self._task, None
            task.result()

    def settle(self) -> BaseException | None:
        """Returns when nothing is being written any more, whatever comes in between: what the last piece raised."""
        with uninterrupted():
            if self._task is None:
                return None
            self._task.wait()
            task, self._task = self._task, None
            return task.error
