"""What the stand-in's streams are given, one piece of work after the other, and graphs of it.

How a capture goes from stream to stream is as CUDA has it (CUDA programming guide, "Cross-stream Dependencies and
Events" and "Prohibited and Unhandled Operations"; cudaError_t in the manual of the runtime):

- An event that a captured stream records belongs to the capture. A stream that waits for it is captured from then on: a
  fork. The default stream cannot be (cudaErrorStreamCaptureImplicit).
- A captured stream cannot wait for an event from outside of the capture (cudaErrorStreamCaptureIsolation), nor for one
  of another capture (cudaErrorStreamCaptureMerge).
- The capture ends in the stream that it began in (cudaErrorStreamCaptureUnmatched), once that has waited for all that
  other streams were given (cudaErrorStreamCaptureUnjoined).
- An event that was recorded in a capture is none outside of it (cudaErrorCapturedEvent), until it is recorded anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cuda_stand_in.memory import Clock, Races

if TYPE_CHECKING:
    from cuda_stand_in.machine import Machine, Stream


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

    stream: Stream
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
class GraphNode:
    """collective: of a call of NCCL's, which makes its body anew whenever the graph is launched."""

    entry: Entry
    body: Callable[[], None]
    # (pointer, number of the allocation that it lay in)
    memory: tuple[tuple[int, int], ...]
    spans: list[tuple[int, int]]
    collective: Callable[[Stream], Callable[[], None]] | None = None


class Graph:
    def __init__(self, machine: Machine):
        self.machine = machine
        self.nodes: list[GraphNode] = []

    def launch(self) -> None:
        machine, stream = self.machine, self.machine.current[-1]
        machine.note("graph", stream.name)
        # of another stream's work all of it is before or after
        clock = stream.tick()
        for node in self.nodes:
            keeps = tuple(machine.memory.same(*place) for place in node.memory)
            entry = node.entry
            machine.note("replay", stream.name, entry.name, entry.pointers, entry.scalars)
            machine.touch(machine.races, node.spans, clock, stream, entry.name, collective=node.collective is not None)
            body = node.body if node.collective is None else node.collective(stream)
            stream.enqueue(Work(body, milliseconds=machine.milliseconds(entry.name), keeps=keeps))


@dataclass
class Capture:
    """What is being recorded, in the stream that it began in and in those that have joined."""

    origin: Stream
    # None once it has ended
    graph: Graph | None
    is_invalid: bool = False
    # of each stream that is part of it: what comes before what it is given next
    clocks: dict[str, Clock] = field(default_factory=dict)
    races: Races = field(default_factory=Races)

    def unjoined(self) -> list[str]:
        """The streams whose work the first one has not waited for."""
        seen = self.clocks[self.origin.name]
        return [name for name, clock in self.clocks.items() if seen.get(name, 0) < clock[name]]


def merge(clock: Clock, other: Clock) -> None:
    """What comes before the other, comes before this one, too."""
    for name, moment in other.items():
        clock[name] = max(clock.get(name, 0), moment)
