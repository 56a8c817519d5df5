"""Gradients over MPI, between processes that mpirun starts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# beside this Python first: where the mpich wheel has laid it
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="needs mpirun")


def ranks(size: int, case: str) -> "subprocess.CompletedProcess[str]":
    assert MPIRUN is not None
    # Open MPI has to be told that ranks may share a core, and that root may start them
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    allowed |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [MPIRUN, "-n", str(size), sys.executable, str(Path(__file__).with_name("mpi_ranks.py")), case],
        env={**os.environ, **allowed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_get_the_sum_in_the_order_of_ranks_whoever_comes_late(size: int) -> None:
    done = ranks(size, "sums")
    assert done.returncode == 0, done.stderr


def test_what_is_no_number_reaches_all_ranks_without_a_word() -> None:
    done = ranks(3, "not_finite")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wait_for_a_rank_that_is_lost_ends_with_the_groups_sentence() -> None:
    done = ranks(2, "lost")
    assert "said: rank 1 is lost" in done.stdout, done.stderr


def test_abort_ends_a_call_under_way() -> None:
    done = ranks(2, "aborted")
    assert "said: the exchange of gradients has ended: it was aborted" in done.stdout, done.stderr
