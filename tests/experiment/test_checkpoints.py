"""Runs that go on within an epoch, and signals that ask for it."""

import itertools
import shutil
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from helpers.changing_run import CHANGING, EVERY
from helpers.commands import STEPS, cut_short, metrics, resumes_to, run_small, small, timeless, train
from helpers.signals import raising_in_steps

from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.progress import EpochLength, Progress

# a group of three batches, the last of two
ACCUMULATING: dict[str, Any] = {"training__epochs": 2, "training__accumulate": 3, "network__normalization": "weight"}


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


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_signal_as_an_epoch_ends(epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is trained, nor measured."""
    run, real, calls, real_step = tmp_path / "run", Checkpoints.after_epoch, itertools.count(1), TrainingStep.run

    def after(self: Checkpoints, progress: Progress, *others: Any) -> None:
        if progress.epochs == epoch:
            signal.raise_signal(signal.SIGINT)
        real(self, progress, *others)

    def counted(self: TrainingStep) -> None:
        next(calls)
        real_step(self)

    with raising_in_steps(monkeypatch, {}), monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "after_epoch", after)
        patch.setattr(TrainingStep, "run", counted)
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (130, "")
    assert "saved: " not in outcome.out and f"epoch {epoch}/2: " in outcome.out
    assert next(calls) == epoch * STEPS + 1
    assert len(metrics(run)) == epoch
    resumes_to(run_small(tmp_path / "whole"), run)


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.common.command.interruption.SECONDS_TOGETHER", 0.0)
    run, whole = tmp_path / "run", run_small(tmp_path / "whole")

    def again(*_: object, **__: object) -> None:
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

    def again(self: Checkpoints, progress: Progress, place: str, *, is_asked: bool) -> None:
        signal.raise_signal(signal.SIGTERM)
        real(self, progress, place, is_asked=is_asked)

    with raising_in_steps(monkeypatch, {5: signal.SIGINT}), monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "within_epoch", again)
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (130, "")
    assert f"saved: in epoch 1, after batch 5 of {STEPS}\n" in outcome.out


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
