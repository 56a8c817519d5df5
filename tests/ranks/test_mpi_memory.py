"""Shared memory of MPICH's goes with the processes, however they end."""

import pytest
from helpers.mpirun import needs_mpi, ran

pytestmark = needs_mpi

# Each rank prints which memory it shares by a name, before and after, and what MPI then adds up in it.
RANKS = """
import os, sys
import mpi4py
mpi4py.rc.finalize = False
from mpi4py import MPI
import numpy as np
from ttfs_cupy.ranks.meeting import SEGMENTS, forget_names

def named():
    return {line.split()[5] for line in open("/proc/self/maps") if SEGMENTS in line and "(deleted)" not in line}

world = MPI.COMM_WORLD
before = len(named())
world.Barrier()
forget_names()
world.Barrier()
sums = np.empty(1_000_000, np.float32)
world.Dup().Allreduce(np.full(sums.size, world.rank + 1, np.float32), sums)
os.write(1, b"%d named, %d now, %g to %g\\n" % (before, len(named()), sums.min(), sums.max()))
world.Barrier()
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
MPI.Finalize()
"""


@pytest.mark.parametrize("end", ["in order", "killed"])
def test_no_name_is_left(end: str) -> None:
    done = ran(2, "-c", RANKS, end)
    assert (done.returncode == 0) == (end == "in order"), done.stderr
    lines = [line for line in done.stdout.splitlines() if "named" in line]
    if lines and lines[0].startswith("0 "):
        pytest.skip("this MPI has no shared memory of that name")
    assert lines == ["1 named, 0 now, 3 to 3"] * 2
