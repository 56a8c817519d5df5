"""Shared memory of MPICH's goes with the processes, however they end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.environments import REPOSITORY

pytest.importorskip("mpi4py", reason="the extra mpi brings it")
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="needs mpirun")

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
    assert MPIRUN is not None
    command = [MPIRUN, "-n", "2", sys.executable, "-c", RANKS, end]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) == (end == "in order"), done.stderr
    lines = [line for line in done.stdout.splitlines() if "named" in line]
    if lines and lines[0].startswith("0 "):
        pytest.skip("this MPI has no shared memory of that name")
    assert lines == ["1 named, 0 now, 3 to 3"] * 2
