"""Ranks as threads of one process: a group of them, and a wire between them, with neither processes nor sockets."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np

from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.ranks.group import Alone, LostRankError
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place

T = TypeVar("T")
# a wait that lasts longer is one that has no end
SECONDS = 60.0


class OneOf(Alone):
    """A rank that is told of a loss by the test: `loss` is what check() raises then. links: Group.links."""

    def __init__(self, rank: int, size: int, links: Mapping[int, Connection] | None = None):
        self.links = links or {}
        self.place = Place(rank, size, rank, size)
        self.rank, self.size = rank, size
        self.loss: LostRankError | None = None

    @property
    def members(self) -> Sequence[Member]:
        return [Member(f"node{rank}", 100 + rank, "") for rank in range(self.size)]

    def check(self) -> None:
        if self.loss is not None:
            raise self.loss


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


def in_order(arrays: list[np.ndarray]) -> np.ndarray:
    """Their sum in float32, one after the other."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total = total + array
    return total


def of_each_rank(size: int, work: Callable[[int], T]) -> list[T]:
    """What work(rank) returns in a thread of each rank."""
    with ThreadPool(size, "rank") as pool:
        tasks = [pool.submit(work, rank) for rank in range(size)]
        return [task.result() for task in tasks]
