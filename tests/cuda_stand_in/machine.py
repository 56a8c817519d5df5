"""The stand-in's streams, events and clock, and the log of all that the host asks for."""

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuda_stand_in.captures import Capture, CaptureError, Entry, Graph, GraphNode, Marker, Work, merge
from cuda_stand_in.memory import Clock, Memory, Races, pointer, spans_of

# In the order in which the engine makes them
STREAMS = ("null", "steps", "copies", "exchanges")

_BUSES = itertools.count(16)


@dataclass
class Stream:
    """A queue. Everything in it is in order; between two queues only events make an order."""

    machine: "Machine"
    name: str
    queue: deque[Work] = field(default_factory=deque)
    ptr: int = 0
    capture: Capture | None = None
    # what comes before what it is given next, outside of captures
    clock: Clock = field(default_factory=dict)

    def enqueue(self, work: Work) -> None:
        self.queue.append(work)
        for eager in self.machine.eager:
            self.machine.stream(eager).advance()

    def advance(self) -> None:
        """Runs as far as it can without anybody else."""
        while self.queue and (self.queue[0].waits_for is None or self.queue[0].waits_for.is_past):
            self.do(self.queue.popleft())

    def run_one(self) -> None:
        work = self.queue[0]
        if work.waits_for is not None:
            self.machine.reach(work.waits_for)
        # reaching it may have run this stream, too
        if self.queue and self.queue[0] is work:
            self.do(self.queue.popleft())

    def do(self, work: Work) -> None:
        work.body()
        self.machine.time += work.milliseconds

    # As CuPy has it

    def __enter__(self) -> "Stream":
        self.machine.current.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self.machine.current.pop()

    def tick(self) -> Clock:
        """What the next thing that it is given comes after, itself included."""
        if self.capture is not None:
            clock = self.capture.clocks[self.name]
        else:
            clock = self.clock
            merge(clock, self.machine.awaited)
        clock[self.name] = clock.get(self.name, 0) + 1
        return clock

    def wait_event(self, event: "Event") -> None:
        machine, capture = self.machine, event.capture
        if self.capture is not None and capture is not self.capture:
            machine.invalidate(self, "a captured stream cannot wait for an event of another capture, or of none")
        machine.note("wait", self.name, event.name)
        if capture is None:
            merge(self.clock, event.clock)
            self.enqueue(Work(lambda: None, event.marker))
            return
        machine.refuse_captured(event)
        if self.capture is None:
            if self.name == "null":
                machine.invalidate(capture.origin, "the default stream cannot join a capture")
            self.capture, capture.clocks[self.name] = capture, dict(event.clock)
            # from here on there is something to join
            self.tick()
        merge(capture.clocks[self.name], event.clock)

    def record(self, event: "Event") -> "Event":
        self.machine.note("record", self.name, event.name)
        event.capture, event.clock = self.capture, dict(self.tick())
        if self.capture is None:
            marker = event.marker = Marker(self)
            self.enqueue(Work(marker.come))
        return event

    def synchronize(self) -> None:
        self.machine.refuse_while_capturing(self, "be waited for")
        self.machine.note("synchronize stream", self.name)
        merge(self.machine.awaited, self.tick())
        self.drain()

    def drain(self) -> None:
        while self.queue:
            self.run_one()

    def begin_capture(self) -> None:
        if self.machine.refuses_capture:
            raise CaptureError("this driver does not capture")
        assert self.name != "null", "the default stream cannot be captured"
        assert self.capture is None, "a stream cannot be captured twice"
        self.capture = Capture(self, Graph(self.machine), clocks={self.name: {self.name: 0}})

    def end_capture(self) -> Graph:
        capture = self.capture
        if capture is None:
            raise CaptureError("nothing is captured in this stream")
        if capture.origin is not self:
            self.machine.invalidate(self, "a capture ends in the stream that it began in")
        if left := capture.unjoined():
            self.machine.violations.append(f"a capture ended with work in {', '.join(left)} that was not joined")
            capture.is_invalid = True
        graph, capture.graph = capture.graph, None
        for stream in self.machine.streams:
            if stream.capture is capture:
                stream.capture = None
        if capture.is_invalid or graph is None:
            raise CaptureError("the capture was invalidated")
        return graph


class Event:
    """CuPy's, with a name for the log."""

    def __init__(self, machine: "Machine"):
        self.machine = machine
        self.name = f"event {next(machine.numbers)}"
        self.marker: Marker | None = None
        # of the stream that recorded it last: what it is captured in, and what came before
        self.capture: Capture | None = None
        self.clock: Clock = {}

    def synchronize(self) -> None:
        self.machine.refuse_beside_a_capture(None, "waited for")
        self.machine.refuse_captured(self)
        self.machine.note("synchronize event", name=self.name)
        merge(self.machine.awaited, self.clock)
        if self.marker is not None:
            self.machine.reach(self.marker)


class Pool:
    """cupy.cuda.MemoryPool; one that a capture takes from gives nothing to anybody else."""

    def __init__(self, machine: "Machine"):
        self.blocks: list[np.ndarray] = []
        self._machine = machine

    def malloc(self, size: int) -> np.ndarray:
        self.blocks.append(self._machine.memory.allocate(size))
        return self.blocks[-1]

    def free_bytes(self) -> int:
        return 0


class Machine:
    """The GPU and its log. eager: streams that run at once whenever they can, all others as late as possible."""

    def __init__(self, eager: Sequence[str] = (), *, refuses_capture: bool = False):
        self.eager = list(eager)
        # where its GPUs are, as the PCI bus has it; those of another machine of this host differ
        self.host, self.bus = "host", f"{os.getpid():08X}:{next(_BUSES):02X}"
        self.refuses_capture = refuses_capture
        self.log: list[Entry] = []
        # what a launch takes, by the kernel's name, and how much has gone by
        self.taking: dict[str, float] = {}
        self.time = 0.0
        self.violations: list[str] = []
        self.memory = Memory()
        # who touches what, from the first communicator of NCCL's on; and what the host has waited for
        self.races: Races | None = None
        self.awaited: Clock = {}
        self.numbers = iter(range(1 << 30))
        self._current_gpu = threading.local()
        self.pinned: list[np.ndarray] = []
        self.streams: list[Stream] = []
        self.current = [self.new_stream()]
        # whom a capture asks for memory; None is the pool that everybody takes it from
        self.allocator: Callable[[int], np.ndarray] | None = None

    @property
    def gpu(self) -> int:
        """The number of the current GPU, of which each thread has its own. All share streams and memory."""
        return getattr(self._current_gpu, "index", 0)

    @gpu.setter
    def gpu(self, index: int) -> None:
        self._current_gpu.index = index

    def new_stream(self) -> Stream:
        number = len(self.streams)
        self.streams.append(Stream(self, STREAMS[number], ptr=0x5EED00 + number if number else 0))
        return self.streams[-1]

    def stream(self, name: str) -> Stream:
        return next((stream for stream in self.streams if stream.name == name), self.streams[0])

    def milliseconds(self, kernel: str) -> float:
        return self.taking.get(kernel, 0.01)

    def note(self, kind: str, stream: str = "", name: str = "", *launched: tuple[Any, ...]) -> None:
        self.log.append(Entry(kind, stream, name, *launched))

    def kinds(self, first: int = 0) -> list[str]:
        return [entry.kind for entry in self.log[first:]]

    def reach(self, marker: Marker) -> None:
        while not marker.is_past:
            marker.stream.run_one()

    def refuse_while_capturing(self, stream: Stream, what: str, error: type[RuntimeError] = CaptureError) -> None:
        if stream.capture is not None:
            self.invalidate(stream, f"a stream that is captured cannot {what}", error)

    def refuse_beside_a_capture(self, stream: Stream | None, what: str) -> None:
        """What is done in another stream, or in none, while one is captured is done once, and not by the graph."""
        for captured in self.streams:
            if captured.capture is not None and (stream is None or captured.capture is not stream.capture):
                self.invalidate(captured, f"nothing can be {what} beside a capture")

    def refuse_captured(self, event: Event) -> None:
        if event.capture is not None and event.capture.graph is None:
            self.violations.append("an event that a capture has recorded is none outside of it")
            raise CaptureError(self.violations[-1])

    def invalidate(self, stream: Stream, why: str, error: type[RuntimeError] = CaptureError) -> None:
        if stream.capture is not None:
            stream.capture.is_invalid = True
        self.violations.append(why)
        raise error(why)

    def touch(
        self, races: Races | None, spans: Any, clock: Clock, stream: Stream, what: str, *, collective: bool = False
    ) -> None:
        """Raises AssertionError for what races with a collective, once there is a communicator."""
        if races is None or self.races is None:
            return
        try:
            races.touch(spans, clock, stream.name, what, collective=collective)
        except AssertionError as race:
            self.violations.append(str(race))
            raise

    def launch(
        self,
        kind: str,
        name: str,
        arrays: Sequence[np.ndarray],
        scalars: tuple[Any, ...],
        body: Any,
        stream: Stream | None = None,
        collective: Callable[[Stream], Callable[[], None]] | None = None,
    ) -> None:
        """Into that stream, the current one unless it is given, or the graph that it is captured into.

        collective: makes the body of a call of NCCL's, each time that it is enqueued.
        """
        stream = stream or self.current[-1]
        self.refuse_beside_a_capture(stream, "launched")
        pointers = tuple(pointer(array) for array in arrays)
        entry = Entry(kind, stream.name, name, pointers, scalars)
        self.log.append(entry)
        capture, clock = stream.capture, stream.tick()
        spans = spans_of(arrays) if self.races is not None else []
        races = self.races if capture is None else capture.races
        self.touch(races, spans, clock, stream, name, collective=collective is not None)
        if capture is None:
            body = body if collective is None else collective(stream)
            stream.enqueue(Work(body, milliseconds=self.milliseconds(name), keeps=tuple(arrays)))
        else:
            numbers = (self.memory.number(place) for place in pointers)
            memory = tuple(zip(pointers, numbers, strict=True))
            assert capture.graph is not None
            capture.graph.nodes.append(GraphNode(entry, body, memory, spans, collective))

    def allocate(self, size: int) -> np.ndarray:
        """That many bytes, from the pool at hand."""
        if self.allocator is None:
            self.refuse_while_capturing(self.current[-1], "take memory that others are given, too")
        self.note("allocate", self.current[-1].name)
        given = self.memory.allocate(size) if self.allocator is None else self.allocator(size)
        if self.races is not None:
            self.races.forget(pointer(given), given.nbytes)
        return given
