"""The queues of a GPU, through CuPy: for training steps, which it can record as CUDA graphs, for copies, and for what
goes to other GPUs.

What is said here about CuPy and CUDA was read in CuPy's source and CUDA's manual; none of it has run on a GPU yet.
"""

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.device.arrays import Array

logger = logging.getLogger("ttfs_cupy")

# What a capture raises where something cannot be recorded
NOT_RECORDED = (RuntimeError, MemoryError)

# What a time is measured over, at least: single calls are shorter than what disturbs them.
CALLS, MILLISECONDS = 10, 1.0

# cupy.cuda.Event: a mark in a stream that the host, or another stream, can wait for; at once if it was never recorded
Event = Any


class Graph:
    """Recorded work. It runs on the memory that it was recorded with, which must still be there."""

    # cupy.cuda.Graph, once all is recorded
    _graph: Any = None

    def launch(self) -> None:
        """Puts all of it into the current stream at once."""
        self._graph.launch()


class Streams:
    """The streams of one GPU, the current one when this is made."""

    def __init__(self, cupy: ModuleType):
        self._cupy = cupy
        # non-blocking: what others do on the default stream must not invalidate a capture, nor wait for a copy
        self._steps = cupy.cuda.Stream(non_blocking=True)
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._exchanges = cupy.cuda.Stream(non_blocking=True)
        self._before, self._after = self.event(), self.event()
        self._forked, self._joined = self.event(), self.event()
        # what capture() is recording
        self.recording: Graph | None = None

    def event(self) -> Event:
        return self._cupy.cuda.Event(disable_timing=True)

    def mark(self, event: Event) -> None:
        """The event comes when all that was launched so far is done."""
        self._cupy.cuda.get_current_stream().record(event)

    def pinned(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array in page-locked memory of the host, which alone can be copied from asynchronously."""
        memory = self._cupy.cuda.alloc_pinned_memory(prod(shape) * np.dtype(dtype).itemsize)
        return np.ndarray(shape, dtype, buffer=memory)

    def copy_in(self, pairs: Iterable[tuple[np.ndarray, Array]], *, after: Event, done: Event) -> None:
        """Enqueues copies from pinned arrays in the stream of copies, between the two events."""
        self._copies.wait_event(after)
        for host, array in pairs:
            array.set(host, stream=self._copies)
        self._copies.record(done)

    def copy_within(self, pairs: Iterable[tuple[Array, Array]], *, after: Event, done: Event) -> None:
        """Enqueues copies from array to array in the stream of steps, between the two events."""
        self._steps.wait_event(after)
        for source, array in pairs:
            array.data.copy_from_device_async(source.data, source.nbytes, self._steps)
        self._steps.record(done)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Launches inside go to the stream of steps: after all that was launched before, before all that follows."""
        outer = self._cupy.cuda.get_current_stream()
        self._steps.wait_event(outer.record(self._before))
        try:
            with self._steps:
                yield
        finally:
            outer.wait_event(self._steps.record(self._after))

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Launches inside go to the stream of exchanges: after all that was launched in the current stream before, and
        beside what is launched there afterwards, until join().

        While the current stream is captured, so is what is launched inside, as a branch of the same graph: a stream
        that waits for an event of a captured one joins the capture (CUDA programming guide, "Cross-stream Dependencies
        and Events"). The capture must not end before join(), which CUDA refuses as work that is not joined.
        """
        current = self._cupy.cuda.get_current_stream()
        self._exchanges.wait_event(current.record(self._forked))
        with self._exchanges:
            yield

    def join(self) -> None:
        """Has the current stream go on once all that exchange() has launched is done; in a capture there must have been
        an exchange() within it."""
        current = self._cupy.cuda.get_current_stream()
        current.wait_event(self._exchanges.record(self._joined))

    def seconds(self, body: Callable[[], None]) -> float:
        """Of one call of the body, which only launches, by events: over at least CALLS and MILLISECONDS.

        The calls are recorded as a graph, so that no launch waits for the host; where that cannot be, they are called.
        """

        def calls() -> None:
            for _ in range(CALLS):
                body()

        with self.step():
            body()  # loads kernels, and has cuBLAS set itself up for this stream
            try:
                work = self.capture(calls).launch
            except NOT_RECORDED as error:
                logger.warning("a timing is of launches: %s cannot be recorded: %s", refused_call(error), error)
                work = calls
            begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
            times = 1
            while True:
                self._steps.record(begin)
                for _ in range(times):
                    work()
                self._steps.record(end)
                end.synchronize()
                milliseconds = float(self._cupy.cuda.get_elapsed_time(begin, end))
                if milliseconds >= MILLISECONDS:
                    return milliseconds / 1e3 / (times * CALLS)
                # as many as it should take, and some more, for clocks that still rise
                times = max(times + 1, int(1.2 * times * MILLISECONDS / max(milliseconds, 0.01)))

    def capture(self, body: Callable[[], None]) -> Graph:
        """What the body launches, recorded instead of run; inside step().

        Raises a RuntimeError, of CuPy's or of cuBLAS's, if that cannot be recorded; the stream is then as before.
        """
        with self._cupy.cuda.using_allocator(_refuse):
            graph = Graph()
            self._steps.begin_capture()
            self.recording = graph
            try:
                body()
            except BaseException:  # Ctrl-C, too, must not leave a stream that records
                with suppress(Exception):
                    self._steps.end_capture()
                raise
            finally:
                self.recording = None
            graph._graph = self._steps.end_capture()
            return graph


def _refuse(size: int) -> Any:
    """An allocator for a capture: the graph would go on to use memory that others are given meanwhile."""
    raise RuntimeError(f"{size} bytes were to be allocated while a CUDA graph is recorded")


def refused_call(error: BaseException) -> str:
    """The innermost call that raised, as its line of code says it, and where that stands."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}, `{frame.line}` ({Path(frame.filename).name}:{frame.lineno})"
