"""Gradients over MPI, between CPUs."""

import time
from itertools import pairwise
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.wires.losses import raise_aborted, raise_lost
from ttfs_cupy.ranks.wires.sums import add

# Seconds between two looks at whether a call is over. MPI's own wait would spin on a core that kernels need; and many
# MPIs carry large messages on only while somebody looks.
SHORTEST_PAUSE, LONGEST_PAUSE = 20e-6, 200e-6


class MpiWire:
    """Sums in the order of ranks, each rank a piece of the array, which it then gives to all.

    MPI only recommends that its own sum has the same bits in every run (MPI 4.1, section 6.9.1), and implementations
    choose how by the message, by where the ranks run and by what has arrived. So MPI carries here, and adds nothing. As
    many bytes travel as in the best of its own sums: each rank sends and gets 2 (R - 1) / R times the array.

    Is made at all ranks, after they have met by MPI. Raises UserError for an MPI that is for one thread alone.
    """

    name = "mpi"

    def __init__(self, group: Group):
        from mpi4py import MPI

        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
            raise UserError(
                "this MPI serves one thread alone, but gradients are exchanged by one of their own: use an MPI that is "
                "built for threads (MPI_THREAD_SERIALIZED or more)"
            )
        self._mpi: Any = MPI
        self._group = group
        self._ranks: Any = MPI.COMM_WORLD.Dup()
        self._parts = np.empty(0, np.float32)
        self._is_aborted = False

    def all_reduce(self, array: np.ndarray) -> None:
        rank, size = self._group.rank, self._group.size
        bounds = [array.size * number // size for number in range(size + 1)]
        pieces = [array[first:stop] for first, stop in pairwise(bounds)]
        own = pieces[rank]
        if self._parts.size < size * own.size:
            self._parts = np.empty(size * own.size, np.float32)
        parts = self._parts[: size * own.size].reshape(size, own.size)
        others = [other for other in range(size) if other != rank]
        self._wait(
            [self._ranks.Irecv(parts[other], other) for other in others]
            + [self._ranks.Isend(pieces[other], other) for other in others]
        )
        parts[rank] = own
        add(parts[0], parts[1], own)
        for part in parts[2:]:
            add(own, part, own)
        counts = [piece.size for piece in pieces]
        self._wait([self._ranks.Iallgatherv(self._mpi.IN_PLACE, [array, counts, bounds[:-1], self._mpi.FLOAT])])

    def _wait(self, requests: list[Any]) -> None:
        pause = SHORTEST_PAUSE
        while not self._are_over(requests):
            self._group.check()
            if self._is_aborted:
                raise_aborted(self._group)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _are_over(self, requests: list[Any]) -> bool:
        try:
            return bool(self._mpi.Request.Testall(requests))
        except self._mpi.Exception as error:
            raise_lost(self._group, f"MPI says: {error}")

    def abort(self) -> None:
        self._is_aborted = True

    def close(self) -> None:
        self._ranks.Free()
