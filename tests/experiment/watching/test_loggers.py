"""Where else a run's numbers go: what each logger wrote is read back with its own package."""

import contextlib
import importlib.util
import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.configs import MINIMAL
from helpers.waiting import wait_until

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.watching.loggers import Loggers, require
from ttfs_cupy.experiment.watching.loggers.identities import Identities
from ttfs_cupy.experiment.watching.loggers.values import norms_by_layer

COUNTS = np.arange(32, dtype=np.int64) ** 2
GRADIENTS = {"conv1.weight": np.full((2, 2), 3, np.float32), "conv1.potential": np.full(1, 8, np.float32)}
TEST = {"test_accuracy": 0.5, "test_loss": 1.25, "balanced_accuracy": 0.25, "best_epoch": 2}


def line(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.5,
        "validation_loss": 2 / epoch,
        "validation_accuracy": 0.25,
        "current_validation_loss": None,
        "firing_rates": {"conv1": 0.125},
        "learning_rate": 0.003,
        "psp_slope": 1.0,
        "images_per_second": 1000.0,
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def config_of(run: RunDirectory, *overrides: str) -> Config:
    path = run.path.parent / "my.yaml"
    path.write_text(MINIMAL)
    return load_config(path, ["network.t_win=0.5", *overrides])


def told(config: Config, run: RunDirectory, epochs: range, *, ends: bool) -> None:
    """A start of the run: it does these epochs, and the test if it comes to its end."""
    loggers = Loggers(config, run)
    with loggers.at_work(epochs[0] - 1), loggers.at_work(0):
        for epoch in epochs:
            loggers.epoch(line(epoch), GRADIENTS, {"conv1": COUNTS})
        if ends:
            loggers.tested(TEST)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """None are expected: what fails only warns."""
    yield caplog.records
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


# TensorBoard


def accumulated(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    found.Reload()
    return found


def test_tensorboard_reads_what_was_told(run: RunDirectory, warnings: list[logging.LogRecord]) -> None:
    pytest.importorskip("tensorboard")
    told(config_of(run, "watch.tensorboard=true"), run, range(1, 4), ends=True)
    found = accumulated(run.loggers)
    tags = found.Tags()
    assert set(tags["scalars"]) == {
        *(f"{what}/{which}" for what in ("loss", "accuracy") for which in ("training", "validation", "test")),
        *(f"training/{what}" for what in ("learning_rate", "psp_slope", "images_per_second")),
        *("accuracy/test_balanced", "firing_rate/conv1", "gradient_norm/conv1"),
    }
    assert [(e.step, e.value) for e in found.Scalars("loss/training")] == [
        (1, 1),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]
    assert [(e.step, e.value) for e in found.Scalars("accuracy/test")] == [(4, 0.5)]
    assert [e.value for e in found.Scalars("gradient_norm/conv1")] == [10, 10, 10]
    assert tags["histograms"] == ["spike_times/conv1"]
    first, *others = found.Histograms("spike_times/conv1")
    assert len(others) == 2
    histogram = first.histogram_value
    assert histogram.bucket == list(COUNTS) and histogram.num == COUNTS.sum()
    assert (histogram.min, histogram.max) == (0, 0.5)
    np.testing.assert_allclose(histogram.bucket_limit, np.arange(1, 33) / 64)
    middles = (np.arange(32) + 0.5) / 64
    assert histogram.sum == pytest.approx((COUNTS * middles).sum())


def test_tensorboards_curves_are_not_doubled(run: RunDirectory, warnings: list[logging.LogRecord]) -> None:
    """A run that ended in epoch 4, after epoch 3 was kept; one that had ended, and is told of the test once more."""
    pytest.importorskip("tensorboard")
    config = config_of(run, "watch.tensorboard=true")
    told(config, run, range(1, 5), ends=False)
    told(config, run, range(4, 7), ends=True)
    told_again(config, run, 6)
    found = accumulated(run.loggers)
    for tag in ("loss/training", "firing_rate/conv1"):
        assert [event.step for event in found.Scalars(tag)] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in found.Histograms("spike_times/conv1")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in found.Scalars("accuracy/test")] == [7]
    assert len(list(run.loggers.iterdir())) == 3


def test_a_file_of_tensorboards_that_was_removed(run: RunDirectory, warnings: list[logging.LogRecord]) -> None:
    pytest.importorskip("tensorboard")
    config = config_of(run, "watch.tensorboard=true")
    for epoch in (1, 2):
        told(config, run, range(epoch, epoch + 1), ends=False)
    first, _ = sorted(run.loggers.glob("events.*"))
    first.unlink()
    told(config, run, range(3, 4), ends=False)
    assert warnings == [] and len(list(run.loggers.glob("events.*"))) == 2


def told_again(config: Config, run: RunDirectory, epochs: int) -> None:
    """A resumed run that had ended after so many epochs."""
    loggers = Loggers(config, run)
    with loggers.at_work(epochs):
        loggers.tested(TEST)


def test_each_epoch_can_be_seen_while_the_run_goes_on(run: RunDirectory) -> None:
    pytest.importorskip("tensorboard")
    loggers = Loggers(config_of(run, "watch.tensorboard=true"), run)
    with loggers.at_work(0):
        for epoch in (1, 2):
            loggers.epoch(line(epoch), GRADIENTS, {"conv1": COUNTS})
            assert [event.step for event in accumulated(run.loggers).Scalars("loss/training")][-1] == epoch


def test_neither_tensorflow_nor_pytorch_is_imported(run: RunDirectory) -> None:
    pytest.importorskip("tensorboard")
    code = (
        "import sys; from ttfs_cupy.experiment.watching.loggers import tensorboard_files; tensorboard_files.require();"
        "print(sorted({'tensorflow', 'torch', 'grpc', 'werkzeug'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


# wandb and MLflow


def test_wandb_writes_a_run_without_a_net(
    run: RunDirectory, warnings: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = config_of(run, "watch.loggers=[wandb]")
    told(config, run, range(1, 4), ends=False)
    told(config, run, range(4, 6), ends=True)
    identity = json.loads((run.loggers / "identities.json").read_text())["wandb"]
    first, second = sorted(path for path in (run.loggers / "wandb").rglob("*.wandb") if not path.is_symlink())
    assert {first.name, second.name} == {f"run-{identity}.wandb"}
    # its own process writes, and is a moment behind
    wait_until(lambda: (steps_of(first), steps_of(second)) == ([1, 2, 3], [4, 5]))


def steps_of(file: Path) -> list[int]:
    """The epochs in a file of wandb's, whose records are its own protocol buffers."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    steps = []
    for data in logged(file.read_bytes()):
        record = records.Record.FromString(data)
        if record.HasField("history"):
            values = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
            }
            assert values["loss/training"] == 1 / values["epoch"]
            assert values["spike_times/conv1.values"] == COUNTS.tolist()
            steps.append(values["epoch"])
    return steps


def logged(content: bytes) -> Iterator[bytes]:
    """The records of a log such as LevelDB's: blocks of 32 KiB, in which each piece has a header of 7 bytes, the last
    three of which are its length and what it is: 1 a whole record, 2 its first, 3 a middle, 4 its last piece."""
    place, record = 7, b""
    while place < len(content):
        left = (1 << 15) - place % (1 << 15)
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if place + 7 + length > len(content):
            return
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def test_mlflow_goes_on_with_its_run(
    run: RunDirectory, warnings: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(run.path.parent)
    config = config_of(run, "watch.loggers=[mlflow]")
    told(config, run, range(1, 4), ends=False)
    # it was told of epoch 3, and killed before that was on disk
    told(config, run, range(3, 4), ends=False)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.loggers}/mlflow.db")
    identity = json.loads((run.loggers / "identities.json").read_text())["mlflow"]
    assert client.get_run(identity).info.status == "KILLED"
    told(config, run, range(4, 6), ends=True)
    told_again(config, run, 5)
    found = client.get_run(identity)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["network.t_win"] == "0.5" and found.data.params["data.dataset"] == "digits"
    history = [(metric.step, metric.value) for metric in client.get_metric_history(identity, "loss/training")]
    assert history == [(epoch, 1 / epoch) for epoch in range(1, 6)]
    assert [metric.value for metric in client.get_metric_history(identity, "accuracy/test")] == [0.5]
    # trained longer, with other settings and another accuracy
    longer = config_of(run, "watch.loggers=[mlflow]", "training.epochs=77")
    monkeypatch.setitem(TEST, "test_accuracy", 0.75)
    told(longer, run, range(6, 7), ends=True)
    found = client.get_run(identity)
    assert found.data.metrics["accuracy/test"] == 0.75
    assert found.data.tags["now.training.epochs"] == "77" and found.data.params["training.epochs"] != "77"
    # nothing beside the run's directory
    assert {path.name for path in run.path.parent.iterdir()} == {"run", "my.yaml"}


def test_mlflow_elsewhere(
    run: RunDirectory, warnings: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    other = run.path.parent / "other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    told(config_of(run, "watch.loggers=[mlflow]"), run, range(1, 2), ends=True)
    assert not (run.loggers / "mlflow.db").exists()
    with contextlib.closing(sqlite3.connect(other)) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)


def test_an_identity_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "identities.json"
    assert not Identities(path).has("one")
    assert Identities(path).of("one", lambda: "a") == Identities(path).of("one", lambda: "b") == "a"
    assert Identities(path).of("two", lambda: "c") == "c" and Identities(path).has("one")
    path.write_text("[]")
    with pytest.raises(UserError, match=r"identities\.json' cannot be read: it is \[\], not keys and values"):
        Identities(path).has("one")


# What is missing, and what fails


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("watch.tensorboard=true", "TensorBoard is not installed: pip install 'ttfs-cupy[tensorboard]'"),
        ("watch.loggers=[wandb]", "wandb is not installed: pip install 'ttfs-cupy[wandb]'"),
        ("watch.loggers=[mlflow]", "MLflow is not installed: pip install 'ttfs-cupy[mlflow]'"),
    ],
)
def test_what_is_not_installed_is_told(
    override: str, sentence: str, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def lacking(name: str, package: str | None = None) -> Any:
        return None if name in ("tensorboard", "wandb", "mlflow") else found(name, package)

    def refuse(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib.util, "find_spec", lacking)
    monkeypatch.setattr(importlib, "import_module", refuse)
    for attempt in (require, lambda config: Loggers(config, run)):
        with pytest.raises(UserError) as caught:
            attempt(config_of(run, override))
        assert str(caught.value) == sentence


class Failing:
    """A logger of which one call fails."""

    def __init__(self, call: str):
        self.call = call
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def called(*_: Any) -> None:
            self.calls.append(name)
            if name == self.call:
                raise OSError(28, "No space left on device")

        return called


@pytest.mark.parametrize(
    ("call", "calls", "sentence"),
    [
        (
            "begin",
            ["begin", "end"],
            "warning: one fails ([Errno 28] No space left on device): the run goes on without it",
        ),
        (
            "epoch",
            ["begin", "epoch", "end"],
            "warning: one fails ([Errno 28] No space left on device): the run goes on",
        ),
        ("end", ["begin", "epoch", "epoch", "end"], "warning: one fails ([Errno 28] No space left on device) as it is"),
    ],
)
def test_what_fails_is_warned_of_once(
    call: str, calls: list[str], sentence: str, run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = Failing(call), Failing("")
    loggers = Loggers(config_of(run), run)
    loggers._loggers = {"one": failing, "other": other}
    with loggers.at_work(0):
        for epoch in (1, 2):
            loggers.epoch(line(epoch), {}, {})
    assert failing.calls == calls and other.calls == ["begin", "epoch", "epoch", "end"]
    (warning,) = caplog.messages
    assert warning.startswith(sentence)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, SystemExit])
def test_loggers_are_closed_on_every_way_out(error: type[BaseException], run: RunDirectory) -> None:
    first, second = Failing("end"), Failing("")
    loggers = Loggers(config_of(run), run)
    loggers._loggers = {"one": first, "two": second}
    with pytest.raises(error), loggers.at_work(0):
        raise error("x")
    assert first.calls[-1] == second.calls[-1] == "end"


def test_without_loggers_nothing_is_made(run: RunDirectory) -> None:
    loggers = Loggers(config_of(run), run)
    assert not loggers.any
    with loggers.at_work(0):
        loggers.epoch(line(1), GRADIENTS, {})
    assert list(run.path.iterdir()) == []


def test_a_layers_norm_is_of_all_its_parameters() -> None:
    assert norms_by_layer(GRADIENTS) == {"conv1": 10.0}


def test_a_fresh_start_clears_what_loggers_made(run: RunDirectory) -> None:
    run.release()
    (run.loggers / "wandb").mkdir(parents=True)
    (run.loggers / "wandb" / "file").touch()
    with pytest.raises(UserError, match="already holds a run"):
        RunDirectory.claim_new(run.path)
    run.discard()
    assert not run.loggers.exists()
