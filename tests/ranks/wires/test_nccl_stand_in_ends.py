"""How a communicator of the stand-in for NCCL ends, and what it refuses then (cuda_stand_in/nccl.py)."""

import threading

import numpy as np
import pytest
from helpers.nccl_ranks import Rank, alone, with_ranks
from helpers.ranks import OfThreads, in_ranks


def test_a_second_abort() -> None:
    def fault(rank: Rank) -> None:
        rank.communicator.abort()
        rank.communicator.abort()

    alone(fault, AssertionError, "a second abort", "a second abort")


@pytest.mark.parametrize("ends", ["abort", "destroy"])
@pytest.mark.parametrize("call", ["allReduce", "check_async_error", "abort", "destroy"])
def test_calls_while_a_communicator_is_given_up(call: str, ends: str) -> None:
    def fault(rank: Rank) -> None:
        with rank.communicator._in_nccl(ends):
            rank.call() if call == "allReduce" else getattr(rank.communicator, call)()

    alone(fault, AssertionError, f"{call} while {ends} is in NCCL", "with one communicator")


@pytest.mark.parametrize("ends", ["abort", "destroy"])
def test_a_communicator_that_is_given_up_while_a_call_is_in_nccl(ends: str) -> None:
    def fault(rank: Rank) -> None:
        with rank.communicator._in_nccl("allReduce"):
            getattr(rank.communicator, ends)()

    alone(fault, AssertionError, f"{ends} while allReduce is in NCCL", "with one communicator")


def test_a_call_ends_when_it_is_aborted() -> None:
    def body(rank: Rank) -> None:
        if rank.rank:
            # as a process that dies
            rank.communicator.abort()
            return
        rank.call()
        timer = threading.Timer(0.2, rank.communicator.abort)
        timer.start()
        assert np.isnan(rank.host()).all(), "what it leaves is no sum"
        timer.join()
        with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
            rank.call()
        with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
            rank.communicator.check_async_error()

    with_ranks(2, body)


def test_groups_of_threads_are_told_of_a_loss() -> None:
    def body(group: OfThreads) -> None:
        if group.rank == 1:
            raise ZeroDivisionError
        group.gather(1)

    with pytest.raises(ZeroDivisionError):
        in_ranks(3, body)
