"""mpirun, and what it starts: no process of it outlives its block."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.environments import REPOSITORY
from helpers.processes import ended, started

# beside this Python first: where the mpich wheel has laid it
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
# Open MPI has to be told that ranks may share a core, and that root may start them
ALLOWED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpirun and mpi4py"
)


@contextmanager
def begun(size: int, *arguments: str | Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """mpirun, by which so many processes of this Python run. variables: of their environment."""
    assert MPIRUN is not None
    command = [MPIRUN, "-n", str(size), sys.executable, *map(str, arguments)]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    with ended(started(command, {**os.environ, **ALLOWED, "PYTHONPATH": path, **variables})) as process:
        yield process


def ran(size: int, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    with begun(size, *arguments, **variables) as process:
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
