"""Runs whose steps are of several batches: as with large ones, and the same when they are resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import (
    STEPS,
    PowerCutError,
    cut_short,
    metrics,
    resumes_to,
    run_small,
    small,
    train,
    weights,
)
from helpers.refusals import refused

from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.trainer import Trainer

# 11 batches an epoch: steps of 3, 3, 3 and 2
BOTH: dict[str, Any] = {
    "training__accumulate": "3",
    "training__average": "0.9",
    "training__epochs": "3",
    "network__psp_slope": "{from: 0, to: 1, start: 0.1, end: 0.5}",
    "schedule": "{name: onecycle}",
}
GROUPS = 4


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("both") / "run", **BOTH)


def test_half_the_batch_size_and_two_batches_a_step_are_the_same_run(tmp_path: Path) -> None:
    """But for rounding, which steps of SGD at psp_slope 0 do not blow up; the last step of an epoch is smaller."""
    sgd = {"network__psp_slope": "0", "optimizer": "{name: sgd, lr: 0.03, momentum: 0.9}", "schedule": "{warmup: 9}"}
    large = run_small(tmp_path / "large", **sgd)
    halves = run_small(tmp_path / "halves", **sgd, training__batch_size="64", training__accumulate="2")
    for ours, theirs in zip(metrics(halves)[:-1], metrics(large)[:-1], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["learning_rate"] == theirs["learning_rate"]
    for name, array in weights(large, "last").items():
        if name.startswith("network."):
            np.testing.assert_allclose(weights(halves, "last")[name], array, rtol=1e-3, atol=1e-4)
    assert weights(halves, "last")["optimizer.counts"].tolist() == [2 * STEPS, 0, 0, 0]


def test_schedules_go_by_the_optimisers_steps(both: Path) -> None:
    _, metadata = checkpoint.load(both / "last.safetensors")
    assert metadata["progress"]["step"] == 3 * GROUPS
    assert weights(both, "last")["optimizer.counts"].sum() - weights(both, "last")["optimizer.counts"][2] == 3 * GROUPS
    last = metrics(both)[2]
    assert last["psp_slope"] == 1.0
    # of the last step
    assert last["learning_rate"] == pytest.approx(0.003 * 4e-6)


@pytest.mark.parametrize("batch", [STEPS + 1, STEPS + 6, 2 * STEPS + 11])
def test_a_resumed_run_is_the_same(batch: int, both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    cut_short(monkeypatch, batch, *small(broken, **BOTH))
    resumes_to(both, broken)


def test_a_resumed_run_of_everything_at_once_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standardised weights, of whose trained arrays an average knows nothing; mixed images; smoothed labels."""
    changes = {
        **BOTH,
        "network__normalization": "weight",
        "data__mix": "cutmix",
        "training__label_smoothing": "0.1",
        "training__epochs": "2",
    }
    whole, broken, real = run_small(tmp_path / "whole", **changes), tmp_path / "broken", Trainer._epoch
    assert {"average.values", "optimizer.counts"} < set(weights(whole, "last"))

    def cut(self: Trainer) -> None:
        if self.progress.epochs:
            raise PowerCutError
        real(self)

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(Trainer, "_epoch", cut)
        train(*small(broken, **changes))
    resumes_to(whole, broken)


def test_a_run_that_has_counted_other_steps(both: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **{**BOTH, "training__epochs": "1", "network__psp_slope": "1"})
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("accumulate: 3", "accumulate: 1"))
    refused(train("--resume", run), "it is at step 4 after 1 epochs, which have 11 steps each here")


@pytest.mark.parametrize(("accumulate", "fits"), [(11, True), (12, False)])
def test_no_step_is_of_more_batches_than_there_are(accumulate: int, fits: bool, tmp_path: Path) -> None:
    arguments = small(tmp_path / "run", training__accumulate=str(accumulate), training__epochs="1")
    if fits:
        assert train(*arguments).code == 0
        return
    refused(train(*arguments), "training.accumulate 12 asks for more batches of 128 than the training set of 129")
    assert not (tmp_path / "run").exists()
