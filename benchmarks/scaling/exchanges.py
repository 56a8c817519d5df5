"""The exchange of gradients, hindered: by waiting for backward, or by a slower wire."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from ttfs_cupy.device import Array
from ttfs_cupy.device.streams import Graph
from ttfs_cupy.ranks.all_reduce import AllReduce, Bucket
from ttfs_cupy.ranks.wires.interface import Wire


class AfterBackward:
    """An exchange of the same buckets that begins once backward is done, so that nothing hides it."""

    def __init__(self, exchange: AllReduce):
        self._exchange = exchange

    @property
    def buckets(self) -> Sequence[Bucket]:
        return self._exchange.buckets

    @property
    def gradients(self) -> Array:
        return self._exchange.gradients

    @property
    def is_recordable(self) -> bool:
        return self._exchange.is_recordable

    def refused(self, trouble: str | None) -> str | None:
        return self._exchange.refused(trouble)

    def captured(self, capture: Callable[[], Graph]) -> Graph:
        return self._exchange.captured(capture)

    def ready(self, first: int) -> None:
        """Nothing goes yet."""

    def finish(self) -> None:
        self._exchange.finish()

    def drop(self) -> None:
        self._exchange.drop()

    def check(self) -> None:
        self._exchange.check()

    def close(self) -> None:
        """Whoever made the exchange closes it."""

    def __enter__(self) -> "AfterBackward":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


class DelayedWire:
    """A wire between CPUs each of whose calls takes so many seconds longer."""

    def __init__(self, wire: Wire, seconds: float):
        self._wire, self._seconds = wire, seconds

    @property
    def name(self) -> str:
        return self._wire.name

    def all_reduce(self, array: Array) -> None:
        time.sleep(self._seconds)
        self._wire.all_reduce(array)

    def abort(self) -> None:
        self._wire.abort()

    def close(self) -> None:
        self._wire.close()
