"""How a run is watched: the console, --quiet and --verbose, and loggers."""

import fcntl
import importlib
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import FILES, Outcome, cut_short, evaluate, resumes_to, run_small, small, timeless, train
from helpers.refusals import refused, tree

from ttfs_cupy.experiment.watching.loggers.tensorboard_files import TensorBoardFiles


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", training__epochs=3)


def log_of(run: Path) -> list[str]:
    """Without the times."""
    return [line[24:] for line in (run / "log.txt").read_text().splitlines()]


# The console


def test_lines_of_an_epoch_where_there_is_no_terminal(tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run, watch__log_every=1e-6))
    assert outcome.code == 0
    lines = [line for line in outcome.out.splitlines() if " left of the epoch, " in line]
    # of eleven batches: before the first there is nothing to tell
    assert [line.partition(":")[0] for line in lines] == [
        f"epoch {epoch}/2, {100 * batch // 11} %" for epoch in (1, 2) for batch in range(1, 11)
    ]
    assert all(" images/s, " in line and line.endswith(" of the run") for line in lines)
    assert [line for line in log_of(run) if line in lines] == lines


def test_a_short_run_has_none(whole: Path) -> None:
    assert not [line for line in log_of(whole) if "left of the epoch" in line]


def test_quiet(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run, training__epochs=3), "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    (line,) = outcome.out.splitlines()
    assert line.startswith("test accuracy ") and line in log_of(whole)
    # the log has it all
    assert len(log_of(run)) == len(log_of(whole)) and timeless(run) == timeless(whole)
    evaluated = evaluate(run, "--quiet")
    assert evaluated.out.startswith("test accuracy  ") and evaluated.out.count("\n") == 1


def test_quiet_leaves_warnings_and_errors(tmp_path: Path) -> None:
    silent = {"network__weight_mean": -1, "network__psp_slope": 0, "training__epochs": 1}
    outcome = train(*small(tmp_path / "run", **silent), "--quiet")
    warning, result = outcome.out.splitlines()
    assert warning.startswith("warning: layers conv1, conv2 never fire") and result.startswith("test accuracy ")
    refused(train("quickstart", "--quiet", "--set", "seed=-1"), "seed must be")


def test_an_interrupted_quiet_run_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.experiment.trainer.Trainer._end_if_asked", interrupted)
    outcome = train(*small(tmp_path / "run"), "--quiet")
    (line,) = outcome.out.splitlines()
    assert line.startswith("interrupted: ") and "--resume" in line


def test_verbose(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run), "--verbose")
    assert outcome.code == 0
    for told in ("conv1 is convolved by ", f"{run}/last.safetensors is written: ", "validation took "):
        assert told in outcome.out and told in "\n".join(log_of(run)) and told not in "\n".join(log_of(whole))
    assert "conv1 is convolved by " in evaluate(run, "--verbose").out
    assert "conv1 is convolved by " not in evaluate(run).out


@pytest.mark.parametrize("command", [train, evaluate])
def test_quiet_and_verbose_exclude_each_other(command: Any) -> None:
    refused(command("quickstart", "--quiet", "--verbose"), "--verbose", "not allowed with", "--quiet")


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code of a command whose outputs are a terminal, and what that showed."""
    ours, theirs = pty.openpty()
    # lines and columns; tqdm draws nothing where there are none
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    process = subprocess.Popen(
        [sys.executable, "-m", "ttfs_cupy.train", *arguments],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        env={**os.environ, "PYTHONPATH": paths, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # nobody writes there any more
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    return process.wait(), text.decode()


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    code, text = on_a_terminal(*small(tmp_path / "run"))
    assert code == 0
    assert "epoch 1/2:   0%|" in text and "/11 batches [" in text and "left of the epoch" not in text
    # what is said stands on a row of its own, whatever the next epoch's bar shows by then
    before = re.findall(r"(.)epoch \d/2: loss", text, re.DOTALL)
    assert len(before) == 2 and set(before) <= set("\r\n"), text


def test_no_bar_on_a_terminal_that_is_to_be_quiet(tmp_path: Path) -> None:
    code, text = on_a_terminal(*small(tmp_path / "run"), "--quiet")
    assert code == 0
    (line,) = text.splitlines()
    assert line.startswith("test accuracy ")


# Loggers


def lacking(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found, load = importlib.util.find_spec, importlib.import_module

    def spec(name: str, package: str | None = None) -> Any:
        return None if name in packages else found(name, package)

    def imported(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", spec)
    monkeypatch.setattr(importlib, "import_module", imported)


def unread(*_: Any, **__: Any) -> None:
    raise AssertionError("no data should have been loaded")


def test_a_logger_that_is_not_installed(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, "tensorboard", "wandb", "mlflow")
    monkeypatch.setattr("ttfs_cupy.train.prepare", unread)
    for changes, sentence in (
        ({"watch__tensorboard": True}, "TensorBoard is not installed: pip install 'ttfs-cupy[tensorboard]'"),
        ({"watch__loggers": ["wandb"]}, "wandb is not installed: pip install 'ttfs-cupy[wandb]'"),
        ({"watch__loggers": ["mlflow"]}, "MLflow is not installed: pip install 'ttfs-cupy[mlflow]'"),
    ):
        refused(train(*small(tmp_path / "run", **changes)), sentence)
    assert tree(tmp_path) == {}
    # a run that another machine is to go on with
    config = (whole / "config.yaml").read_text().replace("tensorboard: false", "tensorboard: true")
    (tmp_path / "config.yaml").write_text(config)
    refused(train("--resume", tmp_path), "TensorBoard is not installed")


def test_an_evaluation_needs_no_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    run = run_small(tmp_path / "run", watch__tensorboard=True)
    lacking(monkeypatch, "tensorboard")
    assert evaluate(run).code == 0


def steps(run: Path, tag: str) -> list[int]:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(run / "loggers"), size_guidance={"scalars": 0, "histograms": 0})
    found.Reload()
    kind = found.Histograms if tag in found.Tags()["histograms"] else found.Scalars
    return [event.step for event in kind(tag)]


def test_loggers_change_no_bit(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = run_small(tmp_path / "run", training__epochs=3, watch__tensorboard=True)
    assert {path.name for path in run.iterdir()} == {*FILES, "loggers"}
    assert timeless(run) == timeless(whole)
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    for tag in ("loss/training", "gradient_norm/conv1", "spike_times/conv2", "firing_rate/conv2"):
        assert steps(run, tag) == [1, 2, 3]
    assert steps(run, "accuracy/test") == [4]


def test_a_resumed_runs_curves_go_on(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    cut_short(monkeypatch, 26, *small(run, training__epochs=3, watch__tensorboard=True))
    assert steps(run, "loss/training") == [1, 2]
    resumes_to(whole, run)
    assert steps(run, "loss/training") == steps(run, "spike_times/conv1") == [1, 2, 3]
    # of a run that is over
    assert train("--resume", run).code == 0
    assert steps(run, "loss/training") == [1, 2, 3] and steps(run, "accuracy/test") == [4]


def test_an_epoch_that_is_gone_on_with(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    changes = {"training__checkpoint_every": {"steps": 4}, "watch__tensorboard": True, "watch__log_every": 1e-6}
    # behind the checkpoint after step 16, which is the second epoch's fifth
    cut_short(monkeypatch, 18, *small(run, training__epochs=3, **changes))
    outcome = train("--resume", run)
    lines = [line for line in outcome.out.splitlines() if " left of the epoch, " in line]
    assert lines[0].startswith(f"epoch 2/3, {100 * 6 // 11} %: ")
    assert steps(run, "loss/training") == steps(run, "gradient_norm/conv1") == [1, 2, 3]
    assert timeless(run) == timeless(whole)


def test_an_epoch_of_which_only_the_validation_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step's gradients are gone with the process that took it."""
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("ttfs_cupy.experiment.trainer.validate", interrupted)
        assert "interrupted: " in train(*small(run, watch__tensorboard=True)).out
    assert train("--resume", run).code == 0
    assert steps(run, "loss/training") == steps(run, "spike_times/conv1") == [1, 2]
    assert steps(run, "gradient_norm/conv1") == [2]


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_gets_a_logger_as_it_goes_on(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    cut_short(monkeypatch, 15, *small(run, training__epochs=3))
    assert train("--resume", run, "--set", "watch.tensorboard=true").code == 0
    assert steps(run, "loss/training") == [2, 3]
    assert (run / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()


@pytest.mark.parametrize("call", ["begin", "epoch", "end"])
def test_a_logger_that_fails(call: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardFiles, call, full)
    run = tmp_path / "run"
    outcome = train(*small(run, training__epochs=3, watch__tensorboard=True))
    assert (outcome.code, outcome.err) == (0, "")
    (warning,) = (line for line in outcome.out.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: TensorBoard fails ([Errno 28] No space left on device)")
    assert timeless(run) == timeless(whole)
    assert (run / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()


def test_a_start_that_fails_leaves_nothing_of_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("ttfs_cupy.experiment.checkpoints.Checkpoints.begin", no_memory)
    outcome: Outcome = train(*small(tmp_path / "run", watch__tensorboard=True))
    assert outcome.code == 2
    assert tree(tmp_path) == {}


def no_memory(*_: Any) -> None:
    raise MemoryError


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_ctrl_c_with_a_logger_that_has_processes_or_databases(logger: str, tmp_path: Path) -> None:
    """The terminal's signal reaches all of them."""
    pytest.importorskip(logger)
    run = tmp_path / "run"
    changes = {"training__epochs": 1000, "training__patience": None, "watch__loggers": [logger]}
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    process = subprocess.Popen(
        [sys.executable, "-m", "ttfs_cupy.train", *small(run, **changes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("interrupted: ") and "warning" not in out
    assert (run / "loggers" / "identities.json").exists()
