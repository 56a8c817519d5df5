"""Runs that are interrupted, killed, resumed, or begin with the weights of another run."""

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.kills import Kills, Survival, killed
from fuzz.runs import Signals
from helpers import changing_run
from helpers.commands import (
    FILES,
    STEPS,
    PowerCutError,
    cut_short,
    evaluate,
    metrics,
    resumes_to,
    run_small,
    small,
    timeless,
    train,
    weights,
)
from helpers.processes import started
from helpers.refusals import refused

from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.trainer import Trainer


def test_control_c_ends_with_the_best_weights_on_disk(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started([sys.executable, "-m", "ttfs_cupy.train", *small(run, training__epochs=100_000)])
    try:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    # it is said once
    assert (process.returncode, err) == (130, "")
    assert f"--resume {run}" in out
    assert {file.name for file in run.iterdir()} == FILES
    assert "interrupted: the best weights so far, of epoch " in out
    assert not any("test_accuracy" in line for line in metrics(run))
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "")


CHANGING: dict[str, Any] = {**changing_run.CHANGING, "training__epochs": 3, "training__average": "null"}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **CHANGING)


@pytest.mark.parametrize(
    ("ending", "step"),
    [
        ("control-c", 1),
        ("power cut", 1),
        ("control-c", STEPS + 5),
        ("power cut", 2 * STEPS),
        ("control-c", 3 * STEPS),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    ending: str, step: int, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    steps = 0
    real_step = TrainingStep.run

    def interrupted(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == step and ending == "power cut":
            raise PowerCutError
        if steps == step:
            signal.raise_signal(signal.SIGINT)
        real_step(*arguments)

    monkeypatch.setattr(TrainingStep, "run", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if ending == "power cut":
            with pytest.raises(PowerCutError):
                train(*small(broken, **CHANGING))
        else:
            outcome = train(*small(broken, **CHANGING))
            assert (outcome.code, outcome.err) == (130, "")
            assert "; go on with: " in outcome.out and outcome.out.endswith(f" --resume {broken}\n")
            # of the three epochs, the second is the first with psp_slope where it will stay
            if step > 2 * STEPS:
                assert f"the best weights so far, of epoch 2, are in {broken / 'best.safetensors'}" in outcome.out
                assert set(weights(broken)) == {"conv1.weight", "conv2.weight", "readout.weight"}
                assert evaluate(broken).code == 0
            else:
                reason = f"no best weights yet: psp_slope moves until epoch 2 of 3 (over: {step // STEPS})"
                assert f"interrupted: there are {reason}; go on" in outcome.out
                refused(evaluate(broken), f"'{broken}' has {reason}; go on with: ", f" --resume {broken}\n")
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(TrainingStep, "run", real_step)

    resumes_to(whole_run, broken)


@pytest.mark.parametrize("potential", [False, True])
def test_a_run_with_standardised_weights_goes_on_to_the_same_bits(
    potential: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "training__epochs": 2,
        "network__psp_slope": 1,
        "network__normalization": "weight",
        "network__initial_potential": potential,
        "optimizer__weight_decay": 0.1,
    }
    layers = ("conv1", "conv2", "readout")
    potentials = {f"{layer}.potential" for layer in layers if potential}
    whole, broken = run_small(tmp_path / "whole", **settings), tmp_path / "broken"
    cut_short(monkeypatch, STEPS + 5, *small(broken, **settings))
    resumes_to(whole, broken)
    # what the layers see, and what is trained
    assert set(weights(whole)) == {f"{layer}.weight" for layer in layers} | potentials
    arrays, _ = checkpoint.load(whole / "last.safetensors")
    of_network = {name for name in arrays if name.startswith("network.")}
    assert of_network == {
        *(f"network.conv{number}.{part}" for number in (1, 2) for part in "vg"),
        *(f"network.{name}" for name in potentials),
        "network.readout.weight",
    }
    outcome = evaluate(whole)
    assert (outcome.code, outcome.err) == (0, "")
    measured = [line["test_accuracy"] for line in metrics(whole) if "test_accuracy" in line]
    assert len(set(measured)) == 1


def test_resuming_a_finished_run_measures_it_again(short_run: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    before = timeless(run)
    assert train("--resume", run).code == 0
    assert timeless(run) == before == timeless(short_run)


def test_a_run_no_longer_needs_the_weights_that_it_began_with(short_run: Path, tmp_path: Path) -> None:
    begun_with = tmp_path / "begun.safetensors"
    begun_with.write_bytes((short_run / "best.safetensors").read_bytes())
    run = run_small(tmp_path / "run", network__initial_weights=str(begun_with))
    begun_with.unlink()
    assert evaluate(run).code == 0
    assert train("--resume", run).code == 0


def test_initial_weights_are_where_a_run_begins(short_run: Path, tmp_path: Path) -> None:
    # so small a rate moves no float32 weight of this size
    start = str(short_run / "best.safetensors")
    run = run_small(tmp_path / "run", network__initial_weights=start, optimizer__lr="1e-30", training__epochs=1)
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, weights(short_run)[name])
    assert metrics(run)[-1]["test_accuracy"] == metrics(short_run)[-1]["test_accuracy"]


@pytest.mark.parametrize("normalization", ["none", "weight"])
def test_weights_of_a_kept_epoch(normalization: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"network__normalization": normalization, "training__epochs": 3}
    run = run_small(tmp_path / "run", training__keep="{every: 1}", **settings)
    (best,) = {line["best_epoch"] for line in metrics(run) if "best_epoch" in line}
    of_best, of_first = evaluate(run), evaluate(run, "--epoch", "1")
    assert (of_first.code, of_first.err) == (0, "")
    assert f"weights        {run}/checkpoints/epoch-0001.safetensors, epoch 1\n" in of_first.out
    # the best ones are those of that epoch
    of_kept = evaluate(run, "--epoch", str(best))
    assert of_kept.out.split("test images")[1] == of_best.out.split("test images")[1]
    assert of_first.out.split("test images")[1] != of_best.out.split("test images")[1]
    refused(evaluate(run, "--epoch", "4"), f"'{run}' keeps no checkpoint of epoch 4: there are 1, 2, 3\n")
    kept = run / "checkpoints/epoch-0002.safetensors"
    arrays, metadata = checkpoint.load(kept)
    checkpoint.save(kept, {name: array for name, array in arrays.items() if "conv1" not in name}, metadata)
    refused(evaluate(run, "--epoch", "2"), f"the weights in '{kept}' do not fit: weights 'conv1.")


def test_no_kept_epoch(short_run: Path) -> None:
    refused(evaluate(short_run, "--epoch", "1"), "keeps no checkpoint of epoch 1: training.keep asked for none")


def test_the_first_epoch_has_no_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"

    def interrupted(_: TrainingStep) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run", interrupted)
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (130, "")
    assert "interrupted: there are no best weights yet: its first epoch is not over; go on with: " in outcome.out
    assert {file.name for file in run.iterdir()} == {"config.yaml", "split.json", "log.txt", "last.safetensors"}
    refused(evaluate(run), f"'{run}' has no best weights yet: its first epoch is not over; go on with: ")


def test_weights_that_an_earlier_version_called_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At Ctrl-C it wrote those of the moment, and `evaluate` quoted them."""
    run = tmp_path / "run"

    def interrupted(self: TrainingStep) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run", interrupted)
        assert train(*small(run, **CHANGING)).code == 130
        arrays, _ = checkpoint.load(run / "last.safetensors")
        network = {name.removeprefix("network."): array for name, array in arrays.items() if "network." in name}
        checkpoint.save(run / "best.safetensors", network, {"psp_slope": 0.0, "epoch": 0})
        refused(evaluate(run), "no best weights yet: psp_slope moves until epoch 2 of 3 (over: 0)")
        outcome = train("--resume", run)
    assert "interrupted: there are no best weights yet" in outcome.out
    assert not (run / "best.safetensors").exists()


def test_a_run_whose_epochs_were_lowered_before_it_had_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = tmp_path / "run", Trainer._epoch

    def only_one(self: Trainer) -> None:
        if self.progress.epochs:
            raise KeyboardInterrupt
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", only_one)
        assert train(*small(run, **CHANGING)).code == 130
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 1"))
    reason = "psp_slope still moved in each epoch that is over (1), as the run's config said then"
    for outcome in (train("--resume", run), evaluate(run)):
        refused(outcome, f"'{run}' has no best weights: {reason}; raise training.epochs in {config}, and go on with: ")
    # as it says
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 3"))
    assert train("--resume", run).code == 0
    assert evaluate(run).code == 0


def test_an_interruption_before_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ttfs_cupy.experiment.prepare.load_dataset", interrupted)
    monkeypatch.chdir(tmp_path)
    outcome = train(*small(tmp_path / "deep" / "run"))
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["what it says", "what it clears away"])
def test_a_second_signal_whenever_it_comes(
    at: str, second: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also more than a second after the first."""
    monkeypatch.setattr("ttfs_cupy.common.command.interruption.SECONDS_TO_ARRIVE", 0.0)
    run, seen = tmp_path / "run", []

    def twice(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any) -> Any:
            seen.append(at)
            signal.raise_signal(second)
            result = real(*arguments)
            signal.raise_signal(second)
            return result

        return work

    def first(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    if at == "what it says":
        monkeypatch.setattr(TrainingStep, "run", first)
        monkeypatch.setattr(best_weights, "standing", twice(best_weights.standing))
    else:
        monkeypatch.setattr("ttfs_cupy.train.Trainer.fit", first)
        monkeypatch.setattr(RunDirectory, "discard", twice(RunDirectory.discard))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = train(*small(run))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (outcome.code, seen) == (143, [at])
    if at == "what it says":
        assert "interrupted: there are no best weights yet: its first epoch is not over; go on with: " in outcome.out
    else:
        assert list(tmp_path.iterdir()) == []


# Killed at the writing of: the config; the split; what to go on from, at the start and in the first epoch; the first
# best weights, and the table of metrics with their epoch


@pytest.mark.parametrize("fsyncs", [1, 2, 3, 4, 16, 17])
def test_what_a_killed_run_leaves_is_cleared(fsyncs: int, kills: Kills, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert killed(kills.start(run, 0), fsyncs=fsyncs, folder=tmp_path).code == -signal.SIGKILL
    left = {file.name for file in run.iterdir()} - {*FILES, "checkpoints"}
    assert len(left) == 2  # the lock and the half-written file
    (run / ".config.yaml-notes").write_text("not ours")
    assert (run / "config.yaml").exists() == (fsyncs > 1)
    again = ["--resume", str(run)] if fsyncs > 1 else kills.start(run, 0)
    assert train(*again).code == 0
    assert (run / ".config.yaml-notes").read_text() == "not ours"
    (run / ".config.yaml-notes").unlink()
    kills.check(run, 0)


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Kills:
    return Kills(tmp_path_factory.mktemp("kills"))


def test_killed_at_random(kills: Kills) -> None:
    assert len({kills.attempt(random.Random(seed)) for seed in range(4)}) > 1


def test_many_kills_of_one_run(tmp_path: Path) -> None:
    survival = Survival(tmp_path, kills=6)
    assert survival.attempt(random.Random(0)).startswith("6 kills: ")


def test_two_signals_within_a_millisecond(tmp_path: Path) -> None:
    signals = Signals(tmp_path)
    assert any(signals.attempt(random.Random(seed)).startswith("interrupted") for seed in range(2))
