"""What each process of test_mpi.py does: python mpi_ranks.py CASE, under mpirun. A failure is an exit code."""

import random
import sys
import threading
import time

import numpy as np
from helpers.ranks import OneOf, in_order
from mpi4py import MPI

from ttfs_cupy.ranks.group import LostRankError
from ttfs_cupy.ranks.wires.mpi import MpiWire

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


def sums() -> None:
    """All lengths, each several times, the ranks coming late at random."""
    wire = MpiWire(OneOf(RANK, SIZE))
    late = random.Random(RANK)
    for count in (0, 1, SIZE - 1, SIZE + 1, 1000, 700_001):
        given = [np.random.default_rng(rank).standard_normal(count).astype(np.float32) for rank in range(SIZE)]
        expected = in_order(given).tobytes()
        for _ in range(5):
            array = given[RANK].copy()
            time.sleep(late.random() / 50)
            wire.all_reduce(array)
            assert array.tobytes() == expected, count
    wire.close()


def not_finite() -> None:
    wire = MpiWire(OneOf(RANK, SIZE))
    array = np.array([np.nan if RANK == SIZE - 1 else 1, np.inf if RANK else -np.inf, np.inf, RANK], np.float32)
    wire.all_reduce(array)
    np.testing.assert_array_equal(array, np.array([np.nan, np.nan, np.inf, SIZE * (SIZE - 1) / 2], np.float32))
    wire.close()


def lost() -> None:
    """Rank 0 waits for ranks that do not come, until it is told of a loss; then they come after all."""
    group = OneOf(RANK, SIZE)
    wire, array = MpiWire(group), np.ones(10_000_000, np.float32)
    if RANK == 0:
        loss = LostRankError("rank 1 is lost")
        threading.Timer(0.2, lambda: setattr(group, "loss", loss)).start()
        with_error(wire, array, "rank 1 is lost")
    MPI.COMM_WORLD.Barrier()
    # no orderly end: a call is under way
    MPI.COMM_WORLD.Abort(0)


def aborted() -> None:
    wire, array = MpiWire(OneOf(RANK, SIZE)), np.ones(10_000_000, np.float32)
    if RANK == 0:
        threading.Timer(0.2, wire.abort).start()
        with_error(wire, array, "the exchange of gradients has ended: it was aborted")
    MPI.COMM_WORLD.Barrier()
    MPI.COMM_WORLD.Abort(0)


def with_error(wire: MpiWire, array: np.ndarray, expected: str) -> None:
    try:
        wire.all_reduce(array)
    except LostRankError as error:
        assert str(error) == expected, error
        print(f"said: {error}", flush=True)
    else:
        raise AssertionError("nothing was raised")


if __name__ == "__main__":
    {"sums": sums, "not_finite": not_finite, "lost": lost, "aborted": aborted}[sys.argv[1]]()
