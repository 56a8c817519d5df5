"""When a checkpoint is written, and what comes of it where it cannot be."""

import errno
import inspect
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.changing_run import CHANGING
from helpers.commands import STEPS, cut_short, evaluate, run_small, small, timeless, train
from helpers.refusals import refused
from helpers.waiting import wait_until
from reference.comparison import DEVICE

from ttfs_cupy import Adam, RunDirectory, build
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import writing
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.config.values import CheckpointEvery
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.progress import Progress
from ttfs_cupy.experiment.files.state import RunState
from ttfs_cupy.experiment.files.writer import Writer
from ttfs_cupy.experiment.moments import Moments


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    by_clock, by_steps, never = Moments(CheckpointEvery(minutes=0.5)), Moments(CheckpointEvery(steps=3)), Moments(None)
    for moments in (by_clock, by_steps, never):
        assert not moments.by_steps(7) and not moments.by_clock()
    assert by_steps.by_steps(9)
    now = 130.0
    assert by_clock.by_clock() and not by_steps.by_clock() and not never.by_clock() and not never.by_steps(9)
    by_clock.saved()
    assert not by_clock.by_clock()


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A disk that is full for checkpoints within an epoch alone; yields what was refused."""
    real, tried, within = Checkpoints.within_epoch, [], [False]
    real_write = writing.write_atomically

    def write(path: Path, *pieces: bytes | memoryview, previous: Path | None = None) -> None:
        if within[0] and path.name == "last.safetensors":
            tried.append(path.name)
            raise UserError(f"{path} cannot be written: {os.strerror(errno.ENOSPC)}")
        real_write(path, *pieces, previous=previous)

    def saved(self: Checkpoints, progress: Progress, place: str, *, is_asked: bool) -> None:
        self.finish()
        within[0] = True
        real(self, progress, place, is_asked=is_asked)
        self.finish()
        within[0] = False

    monkeypatch.setattr(checkpoint, "write_atomically", write)
    monkeypatch.setattr(Checkpoints, "within_epoch", saved)
    yield tried


def test_a_checkpoint_within_an_epoch_is_a_convenience(
    no_space: list[str], whole_changing: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run, **CHANGING, training__checkpoint_every="{steps: 4}"))
    assert (outcome.code, outcome.err) == (0, "")
    told = [line for line in outcome.out.splitlines() if "No space left on device" in line]
    # once an epoch
    assert len(told) == 2 and len(no_space) >= 4
    assert told[0] == (
        f"warning: the checkpoint within epoch 1 is not written: {run}/last.safetensors cannot be written: "
        "No space left on device; the run goes on, and the last checkpoint is whole"
    )
    assert timeless(run) == timeless(whole_changing)


def test_weights_that_are_not_finite_replace_no_good_checkpoint(tmp_path: Path) -> None:
    net = build([4], input_shape=(1, 4, 4), classes=2, device=DEVICE)
    optimizer, run = Adam(net.device, net.parameters), RunDirectory.create(tmp_path / "run", "")
    checkpoints = Checkpoints(run, RunState(net, optimizer), None)
    checkpoints.begin(Progress())
    before = run.last.read_bytes()
    net.parameters.values[0] = float("inf")
    with pytest.raises(UserError, match=r"is not written: the weights conv1\.weight are no longer finite"):
        checkpoints.begin(Progress())
    assert run.last.read_bytes() == before and not run.previous.exists()


def test_a_step_does_not_wait_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, may_write, order = checkpoint.save, threading.Event(), []

    def slow(*arguments: Any) -> None:
        if arguments[0].name == "last.safetensors" and order:
            assert may_write.wait(60)
            order.append("written")
        real(*arguments)

    steps, real_step = itertools.count(1), TrainingStep.run

    def step(self: TrainingStep) -> None:
        number = next(steps)
        # the checkpoint was asked for after the third step
        if number in (4, 5):
            order.append(f"step {number}")
        if number == 5:
            may_write.set()
        real_step(self)

    monkeypatch.setattr(checkpoint, "save", slow)
    monkeypatch.setattr(TrainingStep, "run", step)
    monkeypatch.setattr(Checkpoints, "within_epoch", _noting(order))
    run_small(tmp_path / "run", training__epochs=1, training__checkpoint_every="{steps: 3}")
    assert order[:4] == ["asked", "step 4", "step 5", "written"]


def _noting(order: list[str]) -> Callable[..., None]:
    real = Checkpoints.within_epoch

    def asked(self: Checkpoints, progress: Progress, place: str, *, is_asked: bool) -> None:
        order.append("asked")
        real(self, progress, place, is_asked=is_asked)

    return asked


def test_the_writer_raises_what_came_of_a_piece() -> None:
    writer, done = Writer(), []

    def fails() -> None:
        raise UserError("no room")

    writer.begin(fails)
    with pytest.raises(UserError, match="no room"):
        writer.begin(lambda: done.append(1))
    writer.begin(lambda: done.append(2))
    writer.finish()
    writer.begin(fails)
    assert isinstance(writer.settle(), UserError)
    assert done == [2] and writer.settle() is None
    writer.finish()


def test_the_writer_is_asked_without_waiting() -> None:
    writer, may_fail = Writer(), threading.Event()

    def fails() -> None:
        assert may_fail.wait(60)
        raise UserError("no room")

    writer.begin(fails)
    writer.check()
    may_fail.set()
    with pytest.raises(UserError, match="no room"):
        wait_until(lambda: writer.check() is not None)
    writer.check()


# What cannot be written, and when that is told


def test_an_epoch_that_cannot_be_written_ends_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, real_step = itertools.count(1), TrainingStep.run
    failed = threading.Event()

    def step(self: TrainingStep) -> None:
        if next(steps) == STEPS + 1:
            assert failed.wait(60)
            # the thread has still to end
            time.sleep(0.2)
        real_step(self)

    def save(path: Path, arrays: Any, metadata: Any, previous: Path | None = None) -> None:
        if path.name == "best.safetensors":
            failed.set()
            raise UserError(f"{path} cannot be written: no room")
        real_save(path, arrays, metadata, previous)

    real_save = checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run", step)
        patch.setattr(checkpoint, "save", save)
        outcome = train(*small(tmp_path / "run"))
    refused(outcome, "best.safetensors cannot be written: no room")
    assert next(steps) == STEPS + 2
    # nothing says that the epoch has been
    assert "epoch 1/" not in outcome.out and not (tmp_path / "run/metrics.jsonl").exists()


def test_what_could_not_be_written_is_told_beside_another_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_fail, real_save, real_step, steps = threading.Event(), checkpoint.save, TrainingStep.run, itertools.count(1)

    def save(path: Path, arrays: Any, metadata: Any, previous: Path | None = None) -> None:
        if path.name == "best.safetensors":
            assert may_fail.wait(60)
            raise UserError(f"{path} cannot be written: no room")
        real_save(path, arrays, metadata, previous)

    def step(self: TrainingStep) -> None:
        if next(steps) == STEPS + 1:
            may_fail.set()
            raise UserError("something else")
        real_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        patch.setattr(TrainingStep, "run", step)
        outcome = train(*small(tmp_path / "run"))
    refused(outcome, "something else")
    assert f"warning: {tmp_path / 'run/best.safetensors'} cannot be written: no room\n" in outcome.out


@pytest.mark.parametrize("where", ["copy", "file"])
def test_too_little_memory_for_a_checkpoint_within_an_epoch(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_load, real_save = Adam.state_dict, checkpoint.save

    def state_dict(self: Adam) -> Any:
        if where == "copy" and within():
            raise MemoryError
        return real_load(self)

    def save(path: Path, arrays: Any, metadata: Any, previous: Path | None = None) -> None:
        if where == "file" and path.name == "last.safetensors" and metadata["progress"]["batches"]:
            raise MemoryError
        real_save(path, arrays, metadata, previous)

    def within() -> bool:
        return any(frame.function == "within_epoch" for frame in inspect.stack())

    whole = run_small(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Adam, "state_dict", state_dict)
        patch.setattr(checkpoint, "save", save)
        outcome = train(*small(tmp_path / "run", training__checkpoint_every="{steps: 4}"))
    assert (outcome.code, outcome.err) == (0, "")
    told = [line for line in outcome.out.splitlines() if line.startswith("warning: ")]
    assert len(told) == 2 and "within epoch 1 is not written: MemoryError; the run goes on" in told[0]
    assert timeless(tmp_path / "run") == timeless(whole)


def test_too_little_memory_in_the_first_epoch_leaves_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, real = itertools.count(1), TrainingStep.run

    def step(self: TrainingStep) -> None:
        if next(steps) == 9:
            raise MemoryError
        real(self)

    for every, is_left in (("{steps: 2}", True), ("null", False)):
        steps, run = itertools.count(1), tmp_path / every.strip("{}")
        with monkeypatch.context() as patch:
            patch.setattr(TrainingStep, "run", step)
            assert train(*small(run, training__checkpoint_every=every)).code == 2
        assert run.exists() == is_left
    assert train("--resume", tmp_path / "steps: 2").code == 0


def test_evaluate_looks_at_the_checkpoint_before_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cut_short(monkeypatch, 7, *small(run, training__checkpoint_every="{steps: 2}"))
    (run / "last.safetensors").write_bytes(b"damaged")
    refused(evaluate(run), f"'{run}' has no best weights yet: its first epoch is not over; go on with: ")
