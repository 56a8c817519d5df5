"""Runs that go wrong, or are none: numbers that stop being finite, damaged files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers.commands import STEPS, Outcome, cut_short, evaluate, metrics, run_small, small, train, weights
from helpers.refusals import refused, tree

from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
from ttfs_cupy.experiment.files import checkpoint

# an empty working directory
pytestmark = pytest.mark.usefixtures("here")


# A learning rate that does not depend on the number of epochs, no bound on the gradient, and one algorithm: where sums
# overflow, the order of adding decides between infinity, NaN and silence.
STEADY = {"optimizer__clip_norm": "null", "schedule__name": "exponential", "network__convolution": "gemm"}


@pytest.mark.parametrize("rate", ["1e38", "3e38"])  # weights that overflow in products, and at once
def test_a_loss_that_is_no_longer_finite(rate: str, here: Path) -> None:
    run = here / "run"
    outcome = train(*small(run, **STEADY, optimizer__lr=rate))
    advice = "try a lower optimizer.lr or set optimizer.clip_norm"
    sentence = refused(outcome, "loss is no longer finite", "epoch 1", "last.safetensors", advice)
    assert any(f"layer {name} " in sentence for name in ("conv1", "conv2", "readout"))
    born = weights(run_small(here / "born", optimizer__lr="1e-30", training__epochs=1))
    kept = weights(run, "last")
    for name, array in born.items():
        np.testing.assert_array_equal(kept[f"network.{name}"], array)


def test_of_a_bound_that_is_set_the_advice_is_to_lower_it(here: Path) -> None:
    outcome = train(*small(here / "run", **{**STEADY, "optimizer__clip_norm": 1}, optimizer__lr="1e38"))
    refused(outcome, "try a lower optimizer.lr or lower optimizer.clip_norm")


def test_the_weights_of_the_last_good_epoch_are_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss overflows in the second epoch: the first one's weights stay on disk."""
    first = run_small(here / "first", **STEADY, training__epochs=1)
    at = LearningRateSchedule.at
    # a config cannot raise the rate in the middle of a run
    monkeypatch.setattr(LearningRateSchedule, "at", lambda self, step: at(self, step) if step < 11 else 1e38)
    run = here / "run"
    refused(train(*small(run, **STEADY)), "no longer finite in epoch 2")
    assert len(metrics(run)) == 1
    for name, array in weights(first, "last").items():
        np.testing.assert_array_equal(weights(run, "last")[name], array)


# Runs that are none


@pytest.mark.parametrize("command", [lambda path: train("--resume", path), evaluate])
def test_no_run_there(command: Callable[[Path], Outcome], here: Path) -> None:
    refused(command(here), str(here), "holds no run")
    refused(command(here / "absent"), "absent", "holds no run")
    refused(command(here / ("x" * 300)), "name too long")
    (here / "config.yaml").touch()
    refused(command(here / "config.yaml"), f"'{here}/config.yaml' is a file: name the run's directory, '{here}'")
    (here / "config.yaml").unlink()
    (here / "README.md").touch()
    assert refused(command(here / "README.md")).endswith("/README.md' is a file: name the run's directory\n")
    (here / "README.md").unlink()
    assert tree(here) == {}


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "another program's", "another network's"])
def test_damaged_weights(file: str, damage: str, good_run: Path, here: Path) -> None:
    run = here / "run"
    shutil.copytree(good_run, run)
    path = run / file
    # else the run would go on from it
    (run / "previous.safetensors").unlink()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "another program's":
        safetensors.numpy.save_file(weights(good_run, path.stem), path)
    else:
        arrays, metadata = checkpoint.load(path)
        name = next(name for name in arrays if name.endswith("conv1.weight"))
        checkpoint.save(path, {**arrays, name: np.zeros((9, 1, 3, 3), np.float32)}, metadata)
    before = tree(run)
    outcome = evaluate(run) if file.startswith("best") else train("--resume", run)
    refused(outcome, str(path))
    after = tree(run)
    # the attempt may have been logged
    assert {name: content for name, content in after.items() if name != "log.txt"} == {
        name: content for name, content in before.items() if name != "log.txt"
    }


def test_a_damaged_metrics_file(good_run: Path, here: Path) -> None:
    run = here / "run"
    shutil.copytree(good_run, run)
    (run / "metrics.jsonl").write_text('{"epoch": 1')
    refused(train("--resume", run), "metrics.jsonl", "cannot be read")


def test_best_weights_that_cannot_be_written_leave_the_run_as_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """metrics.jsonl had a line of the epoch then, which was to be done anew."""
    run = here / "run"
    # of equal accuracies the later epoch's weights are the best
    cut_short(monkeypatch, STEPS + 1, *small(run, optimizer__lr="1e-30"))
    (run / "best.safetensors").unlink()
    (run / "best.safetensors").mkdir()
    before = {name: content for name, content in tree(run).items() if name != "log.txt"}
    refused(train("--resume", run), f"{run / 'best.safetensors'} cannot be written: Is a directory")
    assert {name: content for name, content in tree(run).items() if name != "log.txt"} == before
