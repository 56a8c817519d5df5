"""Ranks that call the stand-in for NCCL themselves (cuda_stand_in/nccl.py)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from cuda_stand_in.nccl_hub import new_hub

from helpers.ranks import OfThreads, in_ranks
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.ranks.wires.nccl import NcclWire

SIZE = 12
FLOAT32, FLOAT64, SUM = 7, 8, 0


class Rank:
    """A rank with an array, whose values differ from rank to rank, and a communicator."""

    def __init__(self, unique_id: bytes, rank: int, size: int, eager: tuple[str, ...] = (), **options: Any):
        self.rank = rank
        self.machine = Machine(eager)
        self.device: CudaDevice = device_of(self.machine, **options)
        self.nccl = self.device.nccl()
        self.array = self.device.to_device(values_of(rank))
        self.communicator = self.nccl.NcclCommunicator(size, unique_id, rank)
        self.streams = self.device.streams

    def call(self, first: int = 0, count: int = SIZE, *, datatype: int = FLOAT32, stream: Any = None) -> None:
        place = self.array.data.ptr + 4 * first
        stream = self.device.xp.cuda.get_current_stream() if stream is None else stream
        self.communicator.allReduce(place, place, count, datatype, SUM, stream.ptr)

    def launch(self, array: Any = None) -> None:
        """A kernel on the array."""
        array = self.array if array is None else array
        self.device.launch("fill", array.size, array, 1.0, array.size)

    def host(self) -> np.ndarray:
        values: np.ndarray = self.array.get()
        return values


def branched(rank: Rank) -> Any:
    """Within a step: a graph with the rank's call as a branch that is joined. It is recorded, not run."""

    def work() -> None:
        with rank.streams.exchange():
            rank.call()
        rank.streams.join()

    return rank.streams.capture(work)


def values_of(rank: int) -> np.ndarray:
    return np.random.default_rng(rank).random(SIZE, np.float32)


def total(ranks: int) -> np.ndarray:
    """In the order of ranks, in float32."""
    values = values_of(0)
    for rank in range(1, ranks):
        values = values + values_of(rank)
    return values


def with_ranks(size: int, body: Callable[[Rank], Any], **options: Any) -> list[Any]:
    unique_id = new_hub()
    return in_ranks(size, lambda group: body(Rank(unique_id, group.rank, size, **options)))


def alone(
    fault: Callable[[Rank], None], error: type[BaseException], match: str, violation: str, **options: Any
) -> None:
    rank = Rank(new_hub(), 0, 1, **options)
    with pytest.raises(error, match=match):
        fault(rank)
    assert violation in "; ".join(rank.machine.violations)


def wired(group: OfThreads, machine: Machine | None = None, **options: Any) -> tuple[CudaDevice, NcclWire]:
    """A rank's GPU, and the engine's own wire on it."""
    device = device_of(machine or Machine(), **options)
    wire = NcclWire(group, device)
    group.on_loss(wire.abort)
    return device, wire
