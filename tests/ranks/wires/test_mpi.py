"""Gradients over MPI, between processes that mpirun starts."""

import subprocess
from pathlib import Path

import psutil
import pytest
from helpers.mpirun import begun, needs_mpi, ran
from helpers.processes import ends

SCRIPT = Path(__file__).with_name("mpi_ranks.py")
pytestmark = needs_mpi


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_get_the_sum_in_the_order_of_ranks_whoever_comes_late(size: int) -> None:
    done = ran(size, SCRIPT, "sums")
    assert done.returncode == 0, done.stderr


def test_what_is_no_number_reaches_all_ranks_without_a_word() -> None:
    done = ran(3, SCRIPT, "not_finite")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wait_for_a_rank_that_is_lost_ends_with_the_groups_sentence() -> None:
    done = ran(2, SCRIPT, "lost")
    assert "said: rank 1 is lost" in done.stdout, done.stderr


def test_abort_ends_a_call_under_way() -> None:
    done = ran(2, SCRIPT, "aborted")
    assert "said: the exchange of gradients has ended: it was aborted" in done.stdout, done.stderr


def test_an_mpi_for_one_thread_is_refused() -> None:
    done = ran(2, SCRIPT, "one_thread", MPI4PY_RC_THREADS="0")
    if "has more threads" in done.stdout:
        pytest.skip("this MPI serves several threads even where it is asked for one")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("said: this MPI serves one thread alone, but gradients are exchanged by one of their") == 2


# The tests themselves


def test_a_rank_that_fails_ends_the_others() -> None:
    done = ran(2, SCRIPT, "fails")
    assert done.returncode and "AssertionError: of rank 1" in done.stderr


def test_ranks_do_not_outlive_their_test() -> None:
    with pytest.raises(subprocess.TimeoutExpired), begun(2, SCRIPT, "spins") as process:
        assert process.stdout is not None
        ranks = [int(process.stdout.readline()) for _ in range(2)]
        assert all(psutil.pid_exists(rank) for rank in ranks)
        process.wait(0.1)
    assert all(ends(rank) for rank in ranks)
