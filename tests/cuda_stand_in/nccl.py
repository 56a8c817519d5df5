"""cupy.cuda.nccl on a stand-in's machine: its calls, checked one by one, and beside those of the other ranks.

Ranks are machines of one process, each in a thread of its own, or of several processes: they meet at the address in the
unique id, as NCCL's do (bootstrap.cc), where a hub adds up what they bring (nccl_hub.py).

Names, arguments and errors are CuPy 14's (cupy_backends/cuda/libs/nccl.pyx). What is refused here and why:

- A call with a communicator that is none any more, a null pointer, an unknown type or sum: ncclInvalidArgument
  (argcheck.cc).
- A buffer that does not lie in one living allocation of this machine's, from its first byte to its last, or is not
  aligned; two buffers that overlap without being one. NCCL would read what lies there.
- A stream that is none of this machine's, or another than the captured one while a graph is recorded.
- A call in a graph with NCCL before 2.9 (NCCL's manual, "Using NCCL with CUDA Graphs"): ncclInvalidUsage.
- Calls that differ between ranks in their order, count, type, sum or place, or of which a graph replays one rank's and
  not the other's: "a collective property of that operation" (the same page). NCCL would hang, or add up other values.
- A rank that leaves while others are in a call: NCCL would hang.
- Two ranks on one GPU: "Duplicate GPU detected" (init.cc).
- ncclCommAbort a second time, while a call is in NCCL, and any call during it: it gives back the communicator's memory,
  and CuPy forgets the pointer only afterwards. What a call has enqueued is no call.
- A buffer that other work touches in another stream without an event between (memory.py).
- ncclCommDestroy while a graph with calls of this communicator is there: it waits for the graph's end (init.cc,
  commDestroySync, localPersistentRefs).

Calls of one communicator run in the order in which they were enqueued, whatever their streams, as NCCL has it
(enqueue.cc, ncclLaunchPrepare: the communicator's deviceStream).
"""

import itertools
import operator
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from cuda_stand_in.captures import Marker
from cuda_stand_in.machine import Machine, Stream
from cuda_stand_in.memory import Races, Region
from cuda_stand_in.nccl_hub import ID_BYTES, Call, Line, new_hub

_TYPES: dict[int, type] = {7: np.float32, 8: np.float64}
_SUM = 0
_INVALID_ARGUMENT, _INVALID_USAGE = 4, 5
_ERRORS = {
    4: "NCCL_ERROR_INVALID_ARGUMENT: invalid argument (run with NCCL_DEBUG=WARN for details)",
    5: "NCCL_ERROR_INVALID_USAGE: invalid usage (run with NCCL_DEBUG=WARN for details)",
    6: "NCCL_ERROR_REMOTE_ERROR: remote process exited or there was a network error",
}


class NcclError(RuntimeError):
    def __init__(self, status: int):
        self.status = status
        # CuPy's table ends with 6, too: of 7 and 8 its error is a KeyError
        super().__init__(_ERRORS[status])


def nccl(machine: Machine, *, version: int = 23007) -> Any:
    """The module."""

    class Communicator(NcclCommunicator):
        def __init__(self, ndev: int, commId: bytes, rank: int, config: None = None):  # noqa: N803
            super().__init__(machine, version, ndev, commId, rank)

    return SimpleNamespace(
        available=True,
        NCCL_FLOAT32=7,
        NCCL_FLOAT64=8,
        NCCL_SUM=_SUM,
        NcclCommunicator=Communicator,
        NcclError=NcclError,
        get_build_version=lambda: version,
        get_unique_id=new_hub,
        get_version=lambda: version,
    )


class NcclCommunicator:
    def __init__(self, machine: Machine, version: int, ndev: int, unique_id: bytes, rank: int):
        if type(unique_id) is not bytes:
            raise TypeError(f"Argument 'commId' has incorrect type (expected bytes, got {type(unique_id).__name__})")
        if len(unique_id) != ID_BYTES:
            raise ValueError(f"commId length {len(unique_id)} != {ID_BYTES}.")
        machine.refuse_beside_a_capture(None, "set up")
        self._machine, self._version, self._rank = machine, version, operator.index(rank)
        gpu = machine.host, machine.bus, machine.gpu
        self._line: Line | None = Line(unique_id, operator.index(ndev), self._rank, gpu)
        self._numbers = itertools.count(1)
        self._recorded = itertools.count(1)
        self._last: Marker | None = None
        self._graphs: weakref.WeakSet[Any] = weakref.WeakSet()
        self._gpu = machine.gpu
        # what a kernel found out while it ran
        self.async_status = 0
        machine.races = machine.races or Races()
        # which calls are in NCCL now, and whether one of them was to end all; held while these change
        self._inside: list[str] = []
        self._was_aborted = False
        self._changing = threading.Lock()

    @contextmanager
    def _in_nccl(self, call: str) -> Iterator[None]:
        """Raises AssertionError for what would use memory that is given back."""
        with self._changing:
            ends = call in ("abort", "destroy")
            if self._inside and (ends or {"abort", "destroy"} & {*self._inside}):
                self._machine.violations.append(f"{call} while {self._inside[0]} is in NCCL, with one communicator")
                raise AssertionError(self._machine.violations[-1])
            self._inside.append(call)
        try:
            yield
        finally:
            with self._changing:
                self._inside.remove(call)

    def rank_id(self) -> int:
        return self._rank

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:  # noqa: N802
        arguments = [operator.index(each) for each in (sendbuf, recvbuf, count, datatype, op, stream)]
        with self._in_nccl("allReduce"):
            found = self._looked_at(*arguments)
        self._enqueue(*found)

    def _looked_at(
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> tuple[Call, np.ndarray, np.ndarray, Stream]:
        """A call that nothing is wrong with."""
        machine = self._machine
        if self._line is None or not sendbuf or not recvbuf or datatype not in _TYPES or op != _SUM:
            raise NcclError(_INVALID_ARGUMENT)
        try:
            sent, received = (self._buffer(place, count, _TYPES[datatype]) for place in (sendbuf, recvbuf))
            assert sendbuf == recvbuf or not np.shares_memory(sent, received), "two buffers that overlap"
            assert machine.gpu == self._gpu, "a call on another GPU than the communicator's"
            into = next((one for one in machine.streams if one.ptr == stream), None)
            assert into is not None, "a call in a stream that is none"
        except AssertionError as error:
            machine.violations.append(f"allReduce: {error}")
            raise NcclError(_INVALID_ARGUMENT) from error
        recorded = None
        if into.capture is not None:
            if self._version < 20900:
                machine.invalidate(into, "NCCL before 2.9 cannot be captured", lambda _: NcclError(_INVALID_USAGE))  # type: ignore[arg-type]
            recorded = next(self._recorded)
            self._graphs.add(into.capture.graph)
        place = machine.memory.offset(sendbuf)
        return Call("allReduce", count, datatype, op, place, recorded), sent, received, into

    def _buffer(self, place: int, count: int, dtype: type) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        assert place % size == 0, "a buffer that is not aligned"
        assert count > 0, "a call of no values"
        return self._machine.memory.view(place, (count,), (size,), dtype)

    def _enqueue(self, call: Call, sent: np.ndarray, received: np.ndarray, stream: Stream) -> None:
        from_, to = Region.of(sent), Region.of(received)

        def body(before: Marker | None, marker: Marker, number: int) -> None:
            if before is not None and not before.is_past:
                self._machine.reach(before)
            line, total = self._line, None
            try:
                if line is not None:
                    total = line.exchange(number, call, from_.array())
                # None where it was aborted: the kernel ends, and what it leaves is nothing to rely on
                to.array()[...] = np.nan if total is None else total
            except AssertionError as error:
                self._machine.violations.append(str(error))
                raise
            finally:
                marker.come()

        def prepare(given: Stream) -> Callable[[], None]:
            before, marker, number = self._last, Marker(given), next(self._numbers)
            self._last = marker
            return lambda: body(before, marker, number)

        scalars = (call.count, call.datatype, call.op)
        arrays = [sent] if from_ == to else [sent, received]
        self._machine.launch("collective", call.name, arrays, scalars, None, stream, prepare)

    def check_async_error(self) -> None:
        with self._in_nccl("check_async_error"):
            if self._line is None:
                raise NcclError(_INVALID_ARGUMENT)
            if self.async_status:
                raise NcclError(self.async_status)

    def abort(self) -> None:
        """From any thread."""
        with self._in_nccl("abort"):
            if self._was_aborted:
                self._machine.violations.append("a second abort of one communicator")
                raise AssertionError(self._machine.violations[-1])
            self._was_aborted = True
            if self._line is not None:
                self._line.cut()
            self._line = None

    def destroy(self) -> None:
        if self._line is None:
            return
        if self._graphs:
            self._machine.violations.append("a communicator is destroyed before its graphs: it would wait for ever")
            raise AssertionError(self._machine.violations[-1])
        if self._last is not None:
            self._machine.reach(self._last)
        with self._in_nccl("destroy"):
            self._line.leave()
            self._line = None
