"""What each process of test_mpi.py does: python mpi_ranks.py CASE, under mpirun. A failure is an exit code."""

import faulthandler
import os
import random
import sys
import threading
import time
import traceback

import numpy as np
from helpers.ranks import OneOf, in_order
from mpi4py import MPI

from ttfs_cupy.common.errors import UserError
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
    end_at_once()


def aborted() -> None:
    wire, array = MpiWire(OneOf(RANK, SIZE)), np.ones(10_000_000, np.float32)
    if RANK == 0:
        threading.Timer(0.2, wire.abort).start()
        with_error(wire, array, "the exchange of gradients has ended: it was aborted")
    MPI.COMM_WORLD.Barrier()
    end_at_once()


def end_at_once() -> None:
    """With a call of MPI's open. mpirun ends then, too, and what it has not passed on by then is lost."""
    time.sleep(0.5)
    MPI.COMM_WORLD.Abort(0)


def with_error(wire: MpiWire, array: np.ndarray, expected: str) -> None:
    try:
        wire.all_reduce(array)
    except LostRankError as error:
        assert str(error) == expected, error
        print(f"said: {error}", flush=True)
    else:
        raise AssertionError("nothing was raised")


def one_thread() -> None:
    if MPI.Query_thread() >= MPI.THREAD_SERIALIZED:
        print("has more threads", flush=True)
        return
    try:
        MpiWire(OneOf(RANK, SIZE))
    except UserError as error:
        print(f"said: {error}", flush=True)
    else:
        raise AssertionError("nothing was raised")


def fails() -> None:
    """At rank 1, for which rank 0 waits."""
    assert RANK == 0, "of rank 1"
    MPI.COMM_WORLD.Barrier()


def spins() -> None:
    """As MPI does in a call whose other ranks do not come."""
    print(os.getpid(), flush=True)
    MPI.COMM_WORLD.Barrier()
    MPI.COMM_WORLD.recv(source=1 - RANK)


CASES = {case.__name__: case for case in (sums, not_finite, lost, aborted, one_thread, fails, spins)}

if __name__ == "__main__":
    # a call of MPI's that never comes back, if nobody ends it
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        CASES[sys.argv[1]]()
    except BaseException:
        # an orderly end would wait for the others
        traceback.print_exc()
        MPI.COMM_WORLD.Abort(1)
