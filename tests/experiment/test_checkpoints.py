"""Checkpoints within an epoch, the one before the newest, and those that are kept."""

import errno
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import STEPS, cut_short, evaluate, metrics, resumes_to, run_small, small, timeless, train
from helpers.refusals import refused
from helpers.signals import raising_in_steps
from reference.comparison import DEVICE

from ttfs_cupy import Adam, RunDirectory, build
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import writing
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.config.values import CheckpointEvery, Keep
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.progress import EpochLength, Progress
from ttfs_cupy.experiment.files.writer import Writer
from ttfs_cupy.experiment.moments import Moments

# slope and learning rate change at every step, moments, signs and averages are remembered, images are changed and mixed
CHANGING: dict[str, Any] = {
    "training__epochs": 2,
    "network__psp_slope": "{from: 0, to: 1, end: 0.6}",
    "optimizer__fixed_sign": True,
    "data__augment": "shift_erase",
    "data__mix": "both",
    "data__mix_alpha": "0.4",
    "training__label_smoothing": "0.1",
    "training__average": 0.9,
}
# a group of three batches, the last of two
ACCUMULATING: dict[str, Any] = {"training__epochs": 2, "training__accumulate": 3, "network__normalization": "weight"}
EVERY = {"training__checkpoint_every": "{steps: 2}"}


@pytest.fixture(scope="module", params=["changing", "accumulating"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CHANGING if request.param == "changing" else ACCUMULATING


@pytest.fixture(scope="module")
def whole(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **settings)


def steps_of(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """How many batches a training works on."""
    calls, real = itertools.count(), TrainingStep.run
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run", lambda self: (next(calls), real(self))[1])
        outcome = train(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    return next(calls)


@pytest.mark.parametrize("call", [2, 6, STEPS, STEPS + 4, 2 * STEPS])
def test_a_run_goes_on_within_an_epoch(
    call: int, settings: dict[str, Any], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    cut_short(monkeypatch, call, *small(broken, **settings, **EVERY))
    _, metadata = checkpoint.load(broken / "last.safetensors")
    before = metadata["progress"]
    if call in (6, STEPS + 4) and settings is CHANGING:
        assert 0 < before["batches"] < STEPS
    shutil.copytree(broken, tmp_path / "again")
    resumes_to(whole, broken)
    # what was done is not done again
    done = before["epochs"] * STEPS + before["batches"]
    assert steps_of(monkeypatch, "--resume", tmp_path / "again") == 2 * STEPS - done


def test_seconds_of_an_epoch_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cut_short(monkeypatch, 8, *small(run, training__epochs=1, training__checkpoint_every="{steps: 5}"))
    arrays, metadata = checkpoint.load(run / "last.safetensors")
    assert 0 < metadata["progress"]["seconds"] < 60
    metadata["progress"]["seconds"] = 1000.0
    checkpoint.save(run / "last.safetensors", arrays, metadata)
    assert train("--resume", run).code == 0
    assert 1000 < metrics(run)[0]["seconds"] < 1060


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(
    number: signal.Signals, settings: dict[str, Any], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    with raising_in_steps(monkeypatch, {5: number}):
        outcome = train(*small(broken, **settings))
    assert (outcome.code, outcome.err) == (128 + number, "")
    # a step of the optimiser may be of three batches
    after = 6 if settings is ACCUMULATING else 5
    assert f"saved: in epoch 1, after batch {after} of {STEPS}\n" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("interrupted: there are no best weights yet")
    assert outcome.out.endswith(f" --resume {broken}\n")
    shutil.copytree(broken, tmp_path / "again")
    resumes_to(whole, broken)
    assert steps_of(monkeypatch, "--resume", tmp_path / "again") == 2 * STEPS - after


def test_a_signal_in_the_validation_does_not_wait_for_its_end(
    settings: dict[str, Any], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, calls, real = tmp_path / "broken", itertools.count(1), Evaluator.run

    def interrupted(self: Evaluator) -> None:
        if next(calls) == 1:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError
        real(self)

    with raising_in_steps(monkeypatch, {}), monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", interrupted)
        outcome = train(*small(broken, **settings))
    assert (outcome.code, outcome.err) == (130, "")
    assert f"saved: in epoch 1, after batch {STEPS} of {STEPS}\n" in outcome.out
    shutil.copytree(broken, tmp_path / "again")
    resumes_to(whole, broken)
    assert steps_of(monkeypatch, "--resume", tmp_path / "again") == STEPS


def test_sigusr1_saves_and_goes_on(
    settings: dict[str, Any], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with raising_in_steps(monkeypatch, {5: signal.SIGUSR1, STEPS + 9: signal.SIGUSR1}):
        outcome = train(*small(run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    saved = [line for line in outcome.out.splitlines() if line.startswith("saved: ")]
    after = (6, 9) if settings is ACCUMULATING else (5, 9)
    assert saved == [
        f"saved: in epoch {epoch}, after batch {batch} of {STEPS}" for epoch, batch in zip((1, 2), after, strict=True)
    ]
    assert timeless(run) == timeless(whole)
    assert (run / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.common.command.interruption.SECONDS_TOGETHER", 0.0)
    run, whole = tmp_path / "run", run_small(tmp_path / "whole")

    def again(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    with raising_in_steps(monkeypatch, {5: signal.SIGINT}), monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "within_epoch", again)
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (130, "")
    assert "saved: " not in outcome.out and outcome.out.endswith(f" --resume {run}\n")
    _, metadata = checkpoint.load(run / "last.safetensors")
    assert metadata["progress"]["step"] == 0
    resumes_to(whole, run)


def test_signals_that_come_together_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, real = tmp_path / "run", Checkpoints.within_epoch

    def again(self: Checkpoints, progress: Progress) -> None:
        signal.raise_signal(signal.SIGTERM)
        real(self, progress)

    with raising_in_steps(monkeypatch, {5: signal.SIGINT}), monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "within_epoch", again)
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (130, "")
    assert f"saved: in epoch 1, after batch 5 of {STEPS}\n" in outcome.out


# The newest is damaged


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has come to the middle of its second epoch, with a checkpoint every two steps."""
    run = tmp_path / "stopped"
    cut_short(monkeypatch, STEPS + 7, *small(run, **CHANGING, **EVERY))
    return run


@pytest.fixture(scope="module")
def whole_changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **CHANGING)


@pytest.mark.parametrize(
    "damage", ["a bit", "metadata", "its key", "other weights", "half of it", "nothing left", "gone"]
)
def test_a_damaged_checkpoint_is_passed_over(damage: str, stopped: Path, whole_changing: Path) -> None:
    last = stopped / "last.safetensors"
    content = bytearray(last.read_bytes())
    if damage == "a bit":
        content[-1] ^= 1
    elif damage == "metadata":
        place = content.index(b'\\"step\\": ') + len(b'\\"step\\": ')
        content[place] ^= 1
    elif damage == "its key":
        # a digest is no longer found, either
        content[content.index(b'"ttfs_cupy"') + 1] ^= 1
    elif damage == "other weights":
        content = bytearray((whole_changing / "best.safetensors").read_bytes())
    elif damage == "half of it":
        del content[len(content) // 2 :]
    else:
        content.clear()
    last.write_bytes(content)
    if damage == "gone":
        last.unlink()
    outcome = train("--resume", stopped)
    assert (outcome.code, outcome.err) == (0, "")
    (told,) = [line for line in outcome.out.splitlines() if line.startswith("warning: weights '")]
    assert str(last) in told and told.endswith(
        f"the run goes on from the checkpoint before it, {stopped}/previous.safetensors"
    )
    assert timeless(stopped) == timeless(whole_changing)
    assert last.read_bytes() == (whole_changing / "last.safetensors").read_bytes()


def test_the_checkpoint_before_is_not_lost_for_a_damaged_one(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (stopped / "previous.safetensors").read_bytes()
    (stopped / "last.safetensors").write_bytes(b"damaged")
    # one more checkpoint; the next would be after two steps
    cut_short(monkeypatch, 3, "--resume", stopped)
    assert (stopped / "previous.safetensors").read_bytes() == good
    newest = (stopped / "last.safetensors").read_bytes()
    checkpoint.load(stopped / "last.safetensors")
    cut_short(monkeypatch, 3, "--resume", stopped)
    assert (stopped / "previous.safetensors").read_bytes() == newest


def test_both_checkpoints_are_damaged(stopped: Path) -> None:
    for name in ("last", "previous"):
        path = stopped / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    refused(train("--resume", stopped), "previous.safetensors' cannot be read: it is not a whole safetensors file")


def test_best_weights_that_are_damaged(stopped: Path) -> None:
    assert train("--resume", stopped).code == 0
    best = stopped / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 64
    best.write_bytes(content)
    refused(evaluate(stopped), f"weights '{best}' cannot be used: the file is damaged")


def test_another_programs_file_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.int64)}, {"x": 1})
    arrays, metadata = checkpoint.load(path)
    assert set(arrays) == {"a", "b"} and metadata == {"x": 1}
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(UserError, match="the file is damaged, its content is not what was written"):
        checkpoint.load(path)
    # what another program, or an earlier version, wrote
    path.write_bytes(bytes(changed).replace(b"sha256", b"sha255"))
    assert set(checkpoint.load(path)[0]) == {"a", "b"}


# Kept ones


@pytest.mark.parametrize(
    ("keep", "epochs"),
    [
        ("{last: 2}", [4, 5]),
        ("{every: 2}", [2, 4]),
        ("{last: 1, every: 3}", [3, 5]),
        ("null", []),
        ("{last: 9}", [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("links", [True, False])
def test_kept_checkpoints(
    keep: str, epochs: list[int], links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    run = run_small(tmp_path / "run", training__epochs=5, training__keep=keep)
    names = [path.name for path in sorted((run / "checkpoints").glob("*"))]
    assert names == [f"epoch-{epoch:04}.safetensors" for epoch in epochs]
    for epoch in epochs:
        _, metadata = checkpoint.load(run / "checkpoints" / f"epoch-{epoch:04}.safetensors")
        assert metadata["progress"]["epochs"] == epoch
    assert sorted(path.name for path in run.glob(".*")) == []


def _no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_kept_checkpoints_of_epochs_that_are_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, training__keep="{last: 3}")
    kept = {epoch: run / "checkpoints" / f"epoch-{epoch:04}.safetensors" for epoch in (1, 2, 3)}
    whole = {epoch: path.read_bytes() for epoch, path in kept.items()}
    # as if what came after the first epoch had been lost, but for the kept ones
    (run / "last.safetensors").unlink()
    shutil.copy(kept[1], run / "previous.safetensors")
    cut_short(monkeypatch, STEPS + 1, "--resume", run)
    assert sorted(kept[1].parent.iterdir()) == [kept[1], kept[2]]
    assert train("--resume", run).code == 0
    assert {epoch: path.read_bytes() for epoch, path in kept.items()} == whole


@pytest.mark.parametrize("newest", ["whole", "damaged"])
def test_a_run_that_was_killed_before_it_kept_a_checkpoint(newest: str, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, training__keep="{last: 2}")
    kept = {epoch: run / "checkpoints" / f"epoch-{epoch:04}.safetensors" for epoch in (1, 2, 3)}
    whole = {epoch: kept[epoch].read_bytes() for epoch in (2, 3)}
    # as after a kill, right after the checkpoint was written
    kept[3].rename(kept[1])
    if newest == "damaged":
        (run / "last.safetensors").replace(run / "previous.safetensors")
        (run / "last.safetensors").write_bytes(b"damaged")
    assert train("--resume", run).code == 0
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == {
        kept[epoch].name: content for epoch, content in whole.items()
    }


def test_what_is_kept() -> None:
    keep = Keep(last=2, every=5)
    assert [epoch for epoch in range(1, 13) if keep.keeps(epoch, 12)] == [5, 10, 11, 12]


# When, and what cannot be written


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    by_clock, by_steps, never = Moments(CheckpointEvery(minutes=0.5)), Moments(CheckpointEvery(steps=3)), Moments(None)
    assert not any(moments.has_come(7) for moments in (by_clock, by_steps, never))
    assert by_steps.has_come(9)
    now = 130.0
    assert by_clock.has_come(7) and not never.has_come(9)
    by_clock.saved()
    assert not by_clock.has_come(7)


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

    def saved(self: Checkpoints, progress: Progress) -> None:
        self.finish()
        within[0] = True
        real(self, progress)
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
    assert len(told) == len(no_space) >= 4
    assert told[0] == (
        f"warning: the checkpoint within epoch 1 is not written: {run}/last.safetensors cannot be written: "
        "No space left on device; the run goes on, and the last checkpoint is whole"
    )
    assert timeless(run) == timeless(whole_changing)


def test_weights_that_are_not_finite_replace_no_good_checkpoint(tmp_path: Path) -> None:
    net = build([4], input_shape=(1, 4, 4), classes=2, device=DEVICE)
    optimizer, run = Adam(net.device, net.parameters), RunDirectory.create(tmp_path / "run", "")
    checkpoints = Checkpoints(run, net, optimizer, None, None, None)
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


def _noting(order: list[str]) -> Callable[[Checkpoints, Progress], None]:
    real = Checkpoints.within_epoch

    def asked(self: Checkpoints, progress: Progress) -> None:
        order.append("asked")
        real(self, progress)

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
    writer.settle()
    assert done == [2]
    with pytest.raises(UserError, match="no room"):
        writer.finish()
    writer.finish()


WITHIN = asdict(Progress(1, 5, batches=3, sums=[1.0, 2.0, 3.0], seconds=4.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": 12}, "it is at batch 12 of an epoch, which has 11 here"),
        ({"batches": 4}, "it is at batch 4, amid the 3 of a step"),
        ({"batches": 0}, "its sums are [1.0, 2.0, 3.0] after 0 batches of an epoch"),
        ({"sums": None}, "its sums are null after 3 batches of an epoch"),
        ({"sums": [-1.0]}, "its sums are [-1.0], not numbers from 0"),
        ({"sums": [float("nan")]}, "its sums are [nan], not numbers from 0"),
        ({"sums": "many"}, "its sums are 'many', not numbers from 0"),
        ({"step": 6}, "it is at step 6 after 1 epochs and 3 batches, which have 4 steps each here"),
        ({"seconds": -1}, "its seconds must be a number from 0 to 1e12, not -1"),
    ],
)
def test_progress_within_an_epoch(changes: dict[str, Any], message: str) -> None:
    length = EpochLength(11, accumulate=3)
    assert asdict(Progress.from_metadata(WITHIN, length)) == WITHIN
    # an epoch's last step may be of fewer batches
    Progress.from_metadata({**WITHIN, "batches": 11, "step": 8}, length)
    with pytest.raises(ValueError) as caught:
        Progress.from_metadata({**WITHIN, **changes}, length)
    assert str(caught.value) == message
