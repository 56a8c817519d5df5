"""Gradients summed over the ranks while backward goes on, in few buckets of whole layers."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.common.machine.threads import Task, ThreadPool
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.streams import NOT_RECORDED, Graph, Streams, refused_call
from ttfs_cupy.ranks.wires.interface import Wire
from ttfs_cupy.ranks.wires.nccl import NcclWire

# A bucket is complete with half of the bytes that are left. So there are few, most bytes leave early, while most of
# backward is still to come, and the last bucket, which nothing is left to hide, is small. Of three quarters there would
# be fewer: docs/scaling.md, "Other ways to exchange".
SHARE_OF_REST = 1 / 2
# Fewer bytes take a network of 100 Gb/s as long as the call itself, some tens of microseconds.
SMALLEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Bucket:
    """The gradients from place `first` to before `stop` of the array, which one call of the wire exchanges. They are
    there once those of all layers are whose weights begin at `due` or behind it."""

    first: int
    stop: int
    due: int

    @property
    def bytes(self) -> int:
        return 4 * (self.stop - self.first)


def buckets_of(starts: Collection[int], decayed: int, size: int) -> list[Bucket]:
    """The buckets of an array of `size` gradients, in the order in which backward fills them: from the last layer down.

    starts: where each layer's weights begin, from 0 up, those of the last layer ending at `decayed`; behind them lie
    the initial potentials, of all layers, which are a bucket of their own, the last one.
    """
    buckets, stop = [], decayed
    for first in sorted(starts, reverse=True):
        bucket = Bucket(first, stop, first)
        if bucket.bytes >= max(SMALLEST_BYTES, SHARE_OF_REST * 4 * stop) or first == 0:
            buckets.append(bucket)
            stop = first
    return buckets + ([Bucket(decayed, size, 0)] if size > decayed else [])


class AllReduce(Protocol):
    """Puts into an array of gradients their sum over all ranks, once a step, at all ranks the same bits.

    All ranks make as many exchanges, of the same buckets in the same order. One thread uses it, the one that computes
    the gradients. Between ready() and the end of finish() a bucket that was handed over is the exchange's: nobody reads
    or writes it. Within `with`, an exception aborts the wire, and the end is close().

    buckets: in their order. gradients: the array, all bytes of which each rank gives and gets in every exchange.
    is_recordable: whether all of it can be a part of a CUDA graph.
    """

    @property
    def buckets(self) -> Sequence[Bucket]: ...
    @property
    def gradients(self) -> Array: ...
    @property
    def is_recordable(self) -> bool: ...

    def refused(self, trouble: str | None) -> str | None:
        """Why steps are not recorded at some rank: the first such reason of all ranks, which all call this as they make
        their step. trouble: this rank's, None where it records. captured() is called only if all record."""

    def captured(self, capture: Callable[[], Graph]) -> Graph:
        """What capture() records, if that can be done at all ranks, which all call this. Raises one of NOT_RECORDED
        otherwise."""

    def ready(self, first: int) -> None:
        """The gradients of all layers whose weights begin at `first` or behind it are there, and of their initial
        potentials: hands over each bucket that is complete by that. On a CPU they are there as this is called; on a GPU
        once what was launched before in the current stream is done."""

    def finish(self) -> None:
        """All gradients are there: hands over the rest, and has whatever comes next see the sums. On a CPU it returns
        once they are there; on a GPU the current stream waits. Another exchange may begin then.

        Raises LostRankError once a rank is lost, and whatever else the wire has raised.
        """

    def drop(self) -> None:
        """Gives up an exchange that has begun, whose step failed at this rank: the array is the caller's again. Other
        ranks wait for what was not handed over, so after this the run ends. Does nothing between two exchanges."""

    def check(self) -> None:
        """Waits for nothing. Raises LostRankError once a rank is known to be lost: a step that a GPU repeats by itself
        does not call the wire again."""

    def close(self) -> None:
        """Ends what it holds. The wire stays open: whoever made it closes it."""

    def __enter__(self) -> "AllReduce": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def all_reduce_of(device: Device, wire: Wire, gradients: Array, starts: Collection[int], decayed: int) -> AllReduce:
    """The exchange of a network's gradients for this device: all_reduce_of(device, wire, parameters.gradients,
    parameters.starts.values(), parameters.decayed).

    gradients: float32, contiguous; the same array for good. starts, decayed: as buckets_of() takes them.
    """
    buckets = buckets_of(starts, decayed, gradients.size)
    if device.streams is not None and isinstance(wire, NcclWire):
        return DeviceAllReduce(wire, device.streams, gradients, buckets)
    return HostAllReduce(wire, gradients, buckets)


class HostAllReduce:
    """AllReduce on a CPU: one thread makes the wire's calls, in their order, while kernels go on, which run without
    Python's global lock.

    waited: for how many seconds finish() has waited so far, which is what was not overlapped. A forked child exchanges
    nothing, since wires end there.
    """

    is_recordable = False

    def __init__(self, wire: Wire, gradients: Array, buckets: Sequence[Bucket]):
        self.buckets, self.gradients = tuple(buckets), gradients
        self.waited = 0.0
        self._wire = wire
        self._views = [gradients[bucket.first : bucket.stop] for bucket in buckets]
        self._tasks: list[Task[None]] = []
        self.after_fork()
        renew_in_children(self)

    def after_fork(self) -> None:
        self._tasks.clear()
        self._thread = ThreadPool(1, "ttfs_cupy_exchange")

    def refused(self, trouble: str | None) -> str | None:
        return trouble

    def captured(self, capture: Callable[[], Graph]) -> Graph:
        return capture()

    def ready(self, first: int) -> None:
        while (number := len(self._tasks)) < len(self.buckets) and self.buckets[number].due >= first:
            self._tasks.append(self._thread.submit(self._wire.all_reduce, self._views[number]))

    def finish(self) -> None:
        self.ready(0)
        begun = time.perf_counter()
        try:
            for task in self._tasks:
                task.result()
        finally:
            self.waited += time.perf_counter() - begun
            self.drop()

    def drop(self) -> None:
        # those that have not begun first: while the others are waited for, the thread would begin the next one
        for task in reversed(self._tasks):
            task.drop()
        self._tasks.clear()

    def check(self) -> None:
        # finish() has waited for every call
        pass

    def close(self) -> None:
        self._thread.end()

    def __enter__(self) -> "HostAllReduce":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._wire.abort()
        self.close()


class DeviceAllReduce:
    """AllReduce on a GPU: a bucket's call is enqueued in the stream of exchanges behind all that was launched before,
    and goes on beside what is launched after; finish() has the steps wait for it.

    Within a capture this is a branch of the step's graph. With an NCCL that cannot be recorded, nothing is handed over
    before finish(), which is then called between two graphs.
    """

    def __init__(self, wire: NcclWire, streams: Streams, gradients: Array, buckets: Sequence[Bucket]):
        self.buckets, self.gradients = tuple(buckets), gradients
        self.is_recordable = wire.is_recordable
        self._wire, self._streams = wire, streams
        self._views = [gradients[bucket.first : bucket.stop] for bucket in buckets]
        self._begun = 0

    def ready(self, first: int) -> None:
        if self.is_recordable:
            self._hand_over(first)

    def _hand_over(self, first: int) -> None:
        while self._begun < len(self.buckets) and self.buckets[self._begun].due >= first:
            with self._streams.exchange():
                self._wire.all_reduce(self._views[self._begun])
            self._begun += 1

    def finish(self) -> None:
        self._hand_over(0)
        self._streams.join()
        self._begun = 0

    def refused(self, trouble: str | None) -> str | None:
        return self._wire.everywhere(trouble)

    def captured(self, capture: Callable[[], Graph]) -> Graph:
        """What capture() records, if that can be done at all ranks: NCCL wants a call to be in a graph at all of them
        or at none (NCCL's manual, "Using NCCL with CUDA Graphs"). All ranks call it. Raises RuntimeError otherwise."""
        graph, trouble = None, None
        try:
            graph = capture()
        except NOT_RECORDED as error:
            trouble = f"{refused_call(error)} cannot be recorded: {error}"
        finally:
            self._begun = 0
        found = self._wire.everywhere(trouble)
        if graph is None or found is not None:
            raise RuntimeError(found)
        return graph

    def check(self) -> None:
        self._wire.check()

    def drop(self) -> None:
        if self._begun:
            self._streams.join()
            self._begun = 0

    def close(self) -> None:
        pass

    def __enter__(self) -> "DeviceAllReduce":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._wire.abort()
