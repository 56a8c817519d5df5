"""Ranks as threads of one process: a group of them, and a wire between them, with neither processes nor sockets."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np

from ttfs_cupy.ranks.group import Alone, LostRankError
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place

T = TypeVar("T")
# a wait that lasts longer is one that has no end
SECONDS = 60.0


class OneOf(Alone):
    """A rank of a group that exchanges nothing. loss: None, or what check() raises. links: Group.links."""

    def __init__(self, rank: int, size: int, links: Mapping[int, Connection] | None = None):
        self.links = links or {}
        self.place = Place(rank, size, rank, size)
        self.rank, self.size = rank, size
        self.loss: LostRankError | None = None

    @property
    def members(self) -> Sequence[Member]:
        """Of one machine, whatever their hosts' names are."""
        return [Member(f"node{rank}", 100 + rank, "machine") for rank in range(self.size)]

    def check(self) -> None:
        if self.loss is not None:
            raise self.loss


class Table:
    """Where the ranks of a run meet, and where it is told that one is lost."""

    def __init__(self, size: int):
        self.barrier = threading.Barrier(size, timeout=SECONDS)
        self.values: list[Any] = [None] * size
        self.callbacks: list[Callable[[], None]] = []
        self.lost: str | None = None

    def lose(self, rank: int, why: str = "has ended") -> None:
        self.lost = self.lost or f"rank {rank} {why}"
        self.barrier.abort()
        for callback in self.callbacks:
            callback()


class OfThreads(OneOf):
    """A group whose ranks are threads: they gather and sum, and are told of a rank that fails."""

    def __init__(self, table: Table, rank: int):
        super().__init__(rank, len(table.values))
        self.table = table

    def gather(self, value: Any) -> list[Any]:
        return [json.loads(each) for each in self._exchanged(json.dumps(value))]

    def sum(self, values: np.ndarray) -> np.ndarray:
        assert values.dtype in (np.int64, np.float64)
        arrays = self._exchanged(values.copy())
        assert len({(array.shape, array.dtype) for array in arrays}) == 1
        return in_order(arrays)

    def _exchanged(self, value: T) -> list[T]:
        table = self.table
        table.values[self.rank] = value
        try:
            table.barrier.wait()
            values = table.values.copy()
            # nobody puts up the next value before all have read this one
            table.barrier.wait()
        except threading.BrokenBarrierError:
            raise LostRankError(table.lost or "a rank is lost") from None
        return values

    def check(self) -> None:
        if self.table.lost is not None:
            raise LostRankError(self.table.lost)

    def on_loss(self, callback: Callable[[], None]) -> None:
        self.table.callbacks.append(callback)

    def fail(self, sentence: str) -> None:
        self.table.lose(self.rank, f"cannot go on: {sentence}")


def in_ranks(size: int, body: Callable[[OfThreads], T]) -> list[T]:
    """What body(group) returns in a thread of each rank. As one fails, the others are told that it is lost."""
    table = Table(size)

    def work(rank: int) -> T:
        try:
            return body(OfThreads(table, rank))
        except BaseException:
            table.lose(rank)
            raise

    return of_each_rank(size, work)


def of_each_rank(size: int, work: Callable[[int], T]) -> list[T]:
    """What work(rank) returns in a thread of each rank. Raises what the first one to fail has raised: not for another
    one's sake, if there is such an error."""
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(rank)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    if errors:
        raise min(errors, key=lambda error: isinstance(error, LostRankError))
    assert len(results) == size, "a rank waits for ever"
    return [results[rank] for rank in range(size)]


class Meeting:
    """Where the wires of so many ranks meet. delay: seconds that every call takes beforehand."""

    def __init__(self, size: int, delay: float = 0.0):
        self.size, self.delay = size, delay
        self.barrier = threading.Barrier(size, timeout=SECONDS)
        self.arrays: list[np.ndarray] = [np.empty(0)] * size


class ThreadsWire:
    """Adds in the order of ranks, once all have come. calls: the sizes of what it was given."""

    name = "threads"

    def __init__(self, meeting: Meeting, rank: int):
        self._meeting, self._rank = meeting, rank
        self.calls: list[int] = []

    def all_reduce(self, array: np.ndarray) -> None:
        meeting = self._meeting
        self.calls.append(array.size)
        time.sleep(meeting.delay)
        meeting.arrays[self._rank] = array
        try:
            meeting.barrier.wait()
            total = in_order(meeting.arrays)
            meeting.barrier.wait()
        except threading.BrokenBarrierError:
            raise LostRankError("a rank is lost") from None
        array[...] = total

    def abort(self) -> None:
        self._meeting.barrier.abort()

    def close(self) -> None:
        pass


def in_order(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Their sum in their own type, one after the other."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total = total + array
    return total
