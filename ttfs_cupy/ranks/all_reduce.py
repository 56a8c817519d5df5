"""Gradients summed over the ranks while backward goes on, in few buckets of whole layers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np

from ttfs_cupy.common.machine.threads import Task, ThreadPool
from ttfs_cupy.device import Array, Device
from ttfs_cupy.ranks.wires.interface import Wire

# A bucket has at least this share of all gradients, so there are few, and no fewer bytes than these.
SMALLEST_SHARE = 1 / 4
SMALLEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Bucket:
    """The gradients from place `first` to before `stop` of the array, which one call of the wire exchanges. They are
    there once those of all layers are whose weights begin at `due` or behind it."""

    first: int
    stop: int
    due: int


def buckets_of(starts: Sequence[int], decayed: int, size: int) -> list[Bucket]:
    """The buckets of an array of `size` gradients, in the order in which backward fills them: from the last layer down.

    starts: where each layer's weights begin, from 0 up, those of the last layer ending at `decayed`; behind them lie the
    initial potentials, of all layers, which are a bucket of their own, the last one.
    """


class AllReduce(Protocol):
    """Puts into an array of gradients their sum over all ranks, once a step, at all ranks the same bits.

    All ranks make as many exchanges, of the same buckets in the same order. One thread uses it, the one that computes
    the gradients. Between ready() and the end of finish() a bucket that was handed over is the exchange's: nobody reads
    or writes it. Within `with`, an exception aborts the wire, and the end is close().

    buckets: in their order. bytes: of the array, which each rank gives and gets in every exchange.
    """

    @property
    def buckets(self) -> Sequence[Bucket]: ...
    @property
    def bytes(self) -> int: ...

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
        ranks wait for what was not handed over, so after this the run ends."""

    def close(self) -> None:
        """Ends what it holds. The wire stays open: whoever made it closes it."""

    def __enter__(self) -> "AllReduce": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def all_reduce_of(
    device: Device, wire: Wire, gradients: Array, starts: Sequence[int], decayed: int | None = None
) -> AllReduce:
    """The exchange of that array, Parameters.gradients, for this device: Parameters.starts and Parameters.decayed say
    what is where."""


class HostAllReduce:
    """AllReduce on a CPU: one thread makes the wire's calls, in their order, while kernels go on, which run without
    Python's global lock. waited: for how many seconds finish() has waited so far, which is what was not overlapped."""
