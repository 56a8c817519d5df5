"""Ranks as threads, each with a GPU made of NumPy, and NCCL between them."""

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cuda_stand_in import Machine, device_of

from ttfs_cupy.device import CudaDevice
from ttfs_cupy.ranks.group import Alone, LostRankError
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place
from ttfs_cupy.ranks.wires.nccl import NcclWire

T = TypeVar("T")
# a wait that lasts longer is one that has no end
SECONDS = 60.0


class Table:
    """Where the ranks of a run meet, and where it is told that one is lost."""

    def __init__(self, size: int):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=SECONDS)
        self.values: list[Any] = [None] * size
        self.callbacks: list[Callable[[], None]] = []
        self.lost: str | None = None

    def lose(self, rank: int, why: str = "has ended") -> None:
        self.lost = self.lost or f"rank {rank} {why}"
        self.barrier.abort()
        for callback in self.callbacks:
            callback()


class OfThreads(Alone):
    """A group whose ranks are threads. host: what it says where it runs; all are of one machine."""

    def __init__(self, table: Table, rank: int):
        self.table, self.rank, self.size = table, rank, table.size
        self.place = Place(rank, table.size, rank, table.size)

    @property
    def members(self) -> list[Member]:
        return [Member(f"node{rank}", 100 + rank, "machine") for rank in range(self.size)]

    def gather(self, value: Any) -> list[Any]:
        table = self.table
        table.values[self.rank] = json.dumps(value)
        try:
            table.barrier.wait()
            values = [json.loads(each) for each in table.values]
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


def wired(group: OfThreads, machine: Machine | None = None, **options: Any) -> tuple[CudaDevice, NcclWire]:
    device = device_of(machine or Machine(), **options)
    wire = NcclWire(group, device)
    group.on_loss(wire.abort)
    return device, wire


def in_ranks(size: int, body: Callable[[OfThreads], T]) -> list[T]:
    """What body(group) returns in a thread of each rank. Raises what the first one to fail has raised; the others are
    then told that it is lost."""
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    table = Table(size)

    def run(rank: int) -> None:
        try:
            results[rank] = body(OfThreads(table, rank))
        except BaseException as error:
            errors.append(error)
            table.lose(rank)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    if errors:
        raise errors[0]
    assert len(results) == size, "a rank waits for ever"
    return [results[rank] for rank in range(size)]


def require_sound(machine: Machine) -> None:
    assert machine.violations == []
