"""Runs with averaged weights: the better ones are kept, training is as without them, and a resumed run the same."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import STEPS, cut_short, evaluate, metrics, resumes_to, run_small, small, train, weights
from helpers.refusals import refused

from ttfs_cupy.data import Batches
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.steps.class_counts import ClassTotals
from ttfs_cupy.engine.steps.evaluation import Evaluation
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.validation import Validation, validate

# so large a rate leaves weights behind that their average is better than
AVERAGED: dict[str, Any] = {
    "training__average": "0.9",
    "training__epochs": "4",
    "optimizer__lr": "0.02",
    "schedule": "{name: exponential}",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("averaged") / "run", **AVERAGED)


def test_both_are_validated_and_the_better_one_is_told_of(run: Path) -> None:
    *lines, test = metrics(run)
    for line in lines:
        both = {name: line[f"{name}_validation_accuracy"] for name in ("current", "average")}
        better = "average" if line["averaged"] else "current"
        assert both[better] == max(both.values()) == line["validation_accuracy"]
        assert line["validation_loss"] == line[f"{better}_validation_loss"]
    assert any(line["averaged"] for line in lines)
    best = max(lines, key=lambda line: (line["validation_accuracy"], line["epoch"]))
    assert test["best_epoch"] == best["epoch"]
    _, metadata = checkpoint.load(run / "best.safetensors")
    assert metadata.pop("class_names") == list("0123456789")
    assert metadata.pop("input")["shape"] == [1, 8, 8]
    assert metadata == {"psp_slope": 1.0, "epoch": best["epoch"], "averaged": best["averaged"]}
    log = (run / "log.txt").read_text()
    share = f"{100 * lines[0]['current_validation_accuracy']:.2f} %"
    assert f"epoch 1/4: loss {lines[0]['train_loss']:.4f}" in log and f"validation {share}" in log
    assert f", averaged {100 * lines[0]['average_validation_accuracy']:.2f} %" in log


def test_training_is_as_without_it(run: Path, tmp_path: Path) -> None:
    plain = run_small(tmp_path / "run", **{**AVERAGED, "training__average": "null"})
    arrays = weights(run, "last")
    assert "average.values" in arrays
    for name, array in weights(plain, "last").items():
        np.testing.assert_array_equal(array, arrays[name])
    for ours, theirs in zip(metrics(run)[:-1], metrics(plain)[:-1], strict=True):
        assert ours["train_loss"] == theirs["train_loss"]
        assert ours["current_validation_accuracy"] == theirs["validation_accuracy"]
        assert ours["current_validation_loss"] == theirs["validation_loss"]
        assert "averaged" not in theirs


def test_the_best_weights_are_those_that_were_measured(run: Path) -> None:
    """Of the average if it is the better one, by the command that reads the file."""
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"test accuracy  {100 * metrics(run)[-1]['test_accuracy']:.2f} %" in outcome.out


# so short an average is as good as the weights, and of equals it is kept
@pytest.mark.parametrize(("decay", "averaged"), [("0.9", False), ("0.0001", True)])
def test_after_one_epoch_they_are_the_last_ones_or_their_average(decay: str, averaged: bool, tmp_path: Path) -> None:
    # of a seed whose two accuracies lie far apart after an epoch
    changes = {"seed": 8, "training__epochs": "1", "training__average": decay}
    run = run_small(tmp_path / "run", **{**AVERAGED, **changes})
    assert metrics(run)[0]["averaged"] is averaged
    last = weights(run, "last")
    for name, array in weights(run).items():
        assert averaged != (last[f"network.{name}"] == array).all()
        np.testing.assert_allclose(array, last[f"network.{name}"], atol=1e-5 if averaged else 0)
    told = "averaged weights" if averaged else "weights"
    assert f"with the {told} of epoch 1\n" in (run / "log.txt").read_text()
    assert evaluate(run).out.count("epoch 1, averaged\n") == averaged


@pytest.mark.parametrize("step", [1, STEPS + 1, 2 * STEPS + 7])
def test_a_resumed_run_is_the_same(step: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    cut_short(monkeypatch, step, *small(broken, **AVERAGED))
    resumes_to(run, broken)


@pytest.mark.parametrize(
    ("changes", "before", "after", "words"),
    [
        (AVERAGED, "average: 0.9", "average: null", "it holds averaged weights, and training.average is null"),
        ({}, "average: null", "average: 0.9", "it holds no averaged weights, and training.average is set"),
    ],
    ids=["dropped", "added"],
)
def test_a_run_goes_on_as_it_began(
    changes: dict[str, Any], before: str, after: str, words: str, tmp_path: Path
) -> None:
    run = run_small(tmp_path / "run", **{**changes, "training__epochs": "1"})
    config = run / "config.yaml"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))
    refused(train("--resume", run), f"'{run / 'last.safetensors'}' does not belong to this run's config: {words}")


def evaluation(correct: int, loss: float = 1.0) -> Evaluation:
    rates = {"conv1": correct / 100}
    return Evaluation(Totals(loss, correct / 100, 100), rates, ClassTotals((100,), (correct,)), dict(rates))


def test_which_is_the_better_one() -> None:
    current = evaluation(50)
    assert not Validation(current).keeps_average and Validation(current).of_both() == {}
    for correct, kept in ((49, False), (50, True), (51, True)):
        both = Validation(current, evaluation(correct))
        assert both.keeps_average == kept
        assert both.kept is (both.average if kept else current)
    spoilt = Validation(current, evaluation(90, np.inf))
    assert spoilt.kept is current
    assert spoilt.of_both() == {
        "averaged": False,
        "current_validation_loss": 1.0,
        "current_validation_accuracy": 0.5,
        "average_validation_loss": None,
        "average_validation_accuracy": None,
    }


def test_patience_goes_by_the_better_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights get no better, their average does."""
    numbers = iter(range(10, 100))

    def validated(*arguments: Any) -> Validation:
        found = validate(*arguments)
        return Validation(evaluation(10), found.average and evaluation(next(numbers)))

    monkeypatch.setattr("ttfs_cupy.experiment.trainer.validate", validated)
    lasting = run_small(tmp_path / "lasting", **{**AVERAGED, "training__patience": "1"})
    assert metrics(lasting)[-1]["best_epoch"] == 4
    ended = run_small(tmp_path / "ended", training__epochs="4", training__patience="1", schedule="{name: exponential}")
    assert metrics(ended)[-1]["best_epoch"] == 2 and len(metrics(ended)) == 3


def test_no_pass_more_without_an_average() -> None:
    class Counting:
        def over(self, batches: Batches, description: str, after_batch: Callable[[], None]) -> Evaluation:
            assert description == "validation"
            after_batch()
            return evaluation(3)

    calls: list[int] = []
    found = validate(Counting(), None, None, nullcontext, lambda: calls.append(1))  # type: ignore[arg-type]
    assert calls == [1]
    assert found.average is None
