"""The stand-in's streams, events, graphs and memory, and the log of all that the host asks for."""

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class CaptureError(RuntimeError):
    """As CuPy's errors, a RuntimeError."""


@dataclass(frozen=True)
class Entry:
    """One thing that the host asked for: what, in which stream, and for launches kernel, pointers and scalars."""

    kind: str
    stream: str = ""
    name: str = ""
    pointers: tuple[int, ...] = ()
    scalars: tuple[Any, ...] = ()


@dataclass
class Marker:
    """A moment in a stream, and when it came."""

    stream: "Stream"
    is_past: bool = False
    time: float = 0

    def come(self) -> None:
        self.is_past, self.time = True, self.stream.machine.time


@dataclass
class Work:
    """An element of a stream's queue; first waits for a moment of another stream, if there is one."""

    body: Callable[[], None]
    waits_for: Marker | None = None
    milliseconds: float = 0
    # what must live until it has run; a graph keeps nothing alive
    keeps: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Region:
    """An array by its address, as a graph knows it."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: np.ndarray) -> "Region":
        return cls(pointer(array), array.shape, array.strides, array.dtype)

    def array(self) -> np.ndarray:
        span = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + self.dtype.itemsize
        memory = (ctypes.c_char * span).from_address(self.pointer)
        return np.ndarray(self.shape, self.dtype, memory, strides=self.strides)


def pointer(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@dataclass
class Stream:
    """A queue. Everything in it is in order; between two queues only events make an order."""

    machine: "Machine"
    name: str
    queue: deque[Work] = field(default_factory=deque)
    ptr: int = 0
    captured: "list[_GraphNode] | None" = None
    is_invalid: bool = False

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

    def wait_event(self, event: "Event") -> None:
        self.machine.refuse_while_capturing(self, "wait for an event")
        self.machine.note("wait", self.name, event.name)
        self.enqueue(Work(lambda: None, event.marker))

    def record(self, event: "Event") -> "Event":
        self.machine.refuse_while_capturing(self, "record an event")
        self.machine.note("record", self.name, event.name)
        marker = event.marker = Marker(self)
        self.enqueue(Work(marker.come))
        return event

    def synchronize(self) -> None:
        self.machine.refuse_while_capturing(self, "be waited for")
        self.machine.note("synchronize stream", self.name)
        self.drain()

    def drain(self) -> None:
        while self.queue:
            self.run_one()

    def begin_capture(self) -> None:
        if self.machine.refuses_capture:
            raise CaptureError("this driver does not capture")
        assert self.name != "null", "the default stream cannot be captured"
        self.captured, self.is_invalid = [], False

    def end_capture(self) -> "Graph":
        nodes, self.captured = self.captured, None
        if nodes is None or self.is_invalid:
            raise CaptureError("the capture was invalidated")
        return Graph(self.machine, nodes)


class Event:
    """CuPy's, with a name for the log."""

    def __init__(self, machine: "Machine"):
        self.machine = machine
        self.name = f"event {next(machine.numbers)}"
        self.marker: Marker | None = None

    def synchronize(self) -> None:
        self.machine.refuse_beside_a_capture(None, "waited for")
        self.machine.note("synchronize event", name=self.name)
        if self.marker is not None:
            self.machine.reach(self.marker)


@dataclass(frozen=True)
class _GraphNode:
    entry: Entry
    body: Callable[[], None]
    # (pointer, number of the allocation that it lay in)
    memory: tuple[tuple[int, int], ...]


class Graph:
    def __init__(self, machine: "Machine", nodes: list[_GraphNode]):
        self.machine = machine
        self.nodes = nodes

    def launch(self) -> None:
        machine, stream = self.machine, self.machine.current[-1]
        machine.note("graph", stream.name)
        for node in self.nodes:
            keeps = tuple(machine.memory.same(*place) for place in node.memory)
            entry = node.entry
            machine.note("replay", stream.name, entry.name, entry.pointers, entry.scalars)
            stream.enqueue(Work(node.body, milliseconds=machine.milliseconds(entry.name), keeps=keeps))


class Memory:
    """The allocations that are alive."""

    def __init__(self) -> None:
        self._alive: dict[int, tuple[int, int, Any]] = {}
        self._count = 0

    def allocate(self, size: int) -> np.ndarray:
        # a label that never came must not be an index beyond all memory
        root = np.zeros(max(size, 1), np.uint8)
        number = self._count = self._count + 1
        self._alive[number] = (pointer(root), max(size, 1), weakref.ref(root))
        weakref.finalize(root, self._alive.pop, number)
        return root

    def number(self, place: int) -> int:
        """Of the allocation that the address lies in."""
        for number, (start, size, _) in self._alive.items():
            if start <= place < start + size:
                return number
        raise AssertionError("a pointer into memory that is not the device's, or no longer")

    def view(self, place: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
        """Float32 values at an address, which have to lie in one allocation."""
        start, size, root = self._alive[self.number(place)]
        last = place + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 4
        assert last <= start + size, "a matrix that ends beyond its array"
        return np.ndarray(shape, np.float32, root(), place - start, strides)

    def same(self, place: int, number: int) -> Any:
        """The allocation, if it is still the one it was."""
        if number not in self._alive:
            raise AssertionError("a graph was launched on memory that was given back")
        return self._alive[number][2]()


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
        self.refuses_capture = refuses_capture
        self.log: list[Entry] = []
        # what a launch takes, by the kernel's name, and how much has gone by
        self.taking: dict[str, float] = {}
        self.time = 0.0
        self.violations: list[str] = []
        self.memory = Memory()
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
        names = ("null", "steps", "copies")
        number = len(self.streams)
        self.streams.append(Stream(self, names[number], ptr=0x5EED00 + number if number else 0))
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
        if stream.captured is not None:
            self.invalidate(stream, f"a stream that is captured cannot {what}", error)

    def refuse_beside_a_capture(self, stream: Stream | None, what: str) -> None:
        """What is done in another stream, or in none, while one is captured is done once, and not by the graph."""
        for captured in self.streams:
            if captured.captured is not None and captured is not stream:
                self.invalidate(captured, f"nothing can be {what} beside a capture")

    def invalidate(self, stream: Stream, why: str, error: type[RuntimeError] = CaptureError) -> None:
        stream.is_invalid = True
        self.violations.append(why)
        raise error(why)

    def launch(
        self,
        kind: str,
        name: str,
        arrays: Sequence[np.ndarray],
        scalars: tuple[Any, ...],
        body: Any,
        stream: Stream | None = None,
    ) -> None:
        """Into that stream, the current one unless it is given, or the graph that it is captured into."""
        stream = stream or self.current[-1]
        self.refuse_beside_a_capture(stream, "launched")
        pointers = tuple(pointer(array) for array in arrays)
        entry = Entry(kind, stream.name, name, pointers, scalars)
        self.log.append(entry)
        if stream.captured is None:
            stream.enqueue(Work(body, milliseconds=self.milliseconds(name), keeps=tuple(arrays)))
        else:
            numbers = (self.memory.number(place) for place in pointers)
            stream.captured.append(_GraphNode(entry, body, tuple(zip(pointers, numbers, strict=True))))

    def allocate(self, size: int) -> np.ndarray:
        """That many bytes, from the pool at hand."""
        if self.allocator is None:
            self.refuse_while_capturing(self.current[-1], "take memory that others are given, too")
        self.note("allocate", self.current[-1].name)
        return self.memory.allocate(size) if self.allocator is None else self.allocator(size)
