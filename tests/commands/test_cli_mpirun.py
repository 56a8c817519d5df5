"""mpirun -n 2 ttfs-train: processes that mpirun starts, and that exchange gradients by MPI."""

import re
import signal
import time
from pathlib import Path

from helpers.commands import metrics, small, timeless
from helpers.mpirun import begun, needs_mpi, ran
from helpers.several_ranks import spoken, trained

TRAIN = ("-m", "ttfs_cupy.train")
LIMIT = 60.0
pytestmark = needs_mpi


def test_mpi_gives_the_bits_that_sockets_give(tmp_path: Path) -> None:
    done = ran(2, *TRAIN, *small(tmp_path / "mpi"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "  gradients go by mpi: " in done.stdout and done.stdout.count("epoch 2/2: ") == 1
    assert spoken(trained(2, tmp_path, *small(tmp_path / "sockets"))).code == 0
    assert timeless(tmp_path / "mpi") == timeless(tmp_path / "sockets")
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "mpi" / name).read_bytes() == (tmp_path / "sockets" / name).read_bytes()


def test_ctrl_c_at_mpirun_ends_a_run_in_order(tmp_path: Path) -> None:
    run, deadline = tmp_path / "run", time.monotonic() + LIMIT
    with begun(2, *TRAIN, *small(run, training__epochs=5000)) as process:
        while not (run / "metrics.jsonl").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=LIMIT)
    assert len(re.findall(r"^interrupted: the best weights so far, .*; go on with: .*--resume", out, re.M)) == 1
    epochs = len(metrics(run))
    done = ran(2, *TRAIN, "--resume", run, "--set", f"training.epochs={epochs + 1}")
    assert (done.returncode, done.stderr) == (0, "") and "test accuracy" in done.stdout
