"""What the engine asks of a wire."""

from typing import Protocol

from ttfs_cupy.device import Array


class Wire(Protocol):
    """Carries arrays between the ranks of a run, by the same calls in the same order at all of them.

    name: mpi, sockets or nccl. Between CPUs a call returns when the sum is there, and one thread makes all calls.
    Between GPUs a call enqueues its work in the current stream. Calls raise LostRankError once a rank is lost.
    """

    @property
    def name(self) -> str: ...

    def all_reduce(self, array: Array) -> None:
        """Puts into a contiguous float32 array its sum over all ranks: the same bits at all of them, and in every run
        of as many ranks."""

    def abort(self) -> None:
        """From any thread: has calls under way, and all later ones, end soon, without a result."""

    def close(self) -> None:
        """Once all work is done, at all ranks."""
