"""Gradients summed over the GPUs of all ranks, in a stream beside the one that computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ttfs_cupy.device import Array
from ttfs_cupy.device.streams import NOT_RECORDED, Graph, Streams, refused_call
from ttfs_cupy.ranks.wires.nccl import NcclWire

if TYPE_CHECKING:
    from ttfs_cupy.ranks.all_reduce import Bucket


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

    def __enter__(self) -> DeviceAllReduce:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._wire.abort()
