"""mpirun -n 2 ttfs-train: processes that mpirun starts, and that exchange gradients by MPI."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import metrics, small, timeless
from helpers.processes import started
from helpers.several_ranks import spoken, trained

ROOT = Path(__file__).parents[2]
# beside this Python first: where the mpich wheel has laid it
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
LIMIT = 60.0

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="needs mpirun")


def begun(*arguments: str | Path, command: str = "train") -> "subprocess.Popen[str]":
    assert MPIRUN is not None
    # Open MPI has to be told that ranks may share a core, and that root may start them
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    allowed |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = [MPIRUN, "-n", "2", sys.executable, "-m", f"ttfs_cupy.{command}", *map(str, arguments)]
    return started(words, {**os.environ, **allowed, "PYTHONPATH": path})


def test_mpi_gives_the_bits_that_sockets_give(tmp_path: Path) -> None:
    process = begun(*small(tmp_path / "mpi"))
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    assert "  gradients go by mpi: " in out and out.count("epoch 2/2: ") == 1
    assert spoken(trained(2, tmp_path, *small(tmp_path / "sockets"))).code == 0
    assert timeless(tmp_path / "mpi") == timeless(tmp_path / "sockets")
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "mpi" / name).read_bytes() == (tmp_path / "sockets" / name).read_bytes()


def test_ctrl_c_at_mpirun_ends_a_run_in_order(tmp_path: Path) -> None:
    run, deadline = tmp_path / "run", time.monotonic() + LIMIT
    process = begun(*small(run, training__epochs=5000))
    while not (run / "metrics.jsonl").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT)
    assert len(re.findall(r"^interrupted: the best weights so far, .*; go on with: .*--resume", out, re.M)) == 1
    epochs = len(metrics(run))
    process = begun("--resume", run, "--set", f"training.epochs={epochs + 1}")
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "") and "test accuracy" in out


def test_a_mistake_in_the_arguments_is_said_once() -> None:
    process = begun("quickstart", "--bogus")
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert (out, err.count("unrecognized arguments: --bogus")) == ("", 1)


def test_a_sweep_is_no_command_for_several_processes(tmp_path: Path) -> None:
    process = begun("quickstart", "--output", tmp_path / "sweep", command="sweep")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert re.fullmatch(
        r"error: a sweep is one process, which starts those of its runs, and \w+ and \w+ in the environment say that "
        r"this one is rank 0 of 2: start it by itself, not by mpirun, srun or torchrun\n",
        err,
    )
    assert not (tmp_path / "sweep").exists()
