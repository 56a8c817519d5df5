"""Warnings and skipped steps of real runs: what is told once, what goes on, and what ends."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import STEPS, cut_short, evaluate, metrics, resumes_to, run_small, small, train, weights
from helpers.refusals import refused

from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.trainer import Trainer

STEADY = {"optimizer__clip_norm": "null", "schedule__name": "exponential", "network__convolution": "gemm"}


def warnings(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("warning: ")]


def spoil(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Has the loss and the gradients of these training batches, from 0 over the run, not be finite."""
    numbers, real = itertools.count(), Network.differentiate

    def differentiate(self: Network, inputs: Any, *rest: Any, **options: Any) -> None:
        if next(numbers) not in steps:
            real(self, inputs, *rest, **options)
            return
        readout = self.layers[-1].weights  # type: ignore[attr-defined]
        before = readout.copy()
        readout[...] = np.inf
        real(self, inputs, *rest, **options)
        readout[...] = before

    monkeypatch.setattr(Network, "differentiate", differentiate)


# Layers


def test_a_saturated_layer_is_told_of_once_and_when_it_is_evaluated(tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run, network__weight_mean=1, optimizer__lr="1e-6"))
    assert (outcome.code, outcome.err) == (0, "")
    told = [line for line in warnings(outcome.out) if "come as the window opens" in line]
    assert len(told) == 1 and told[0].startswith("warning: nearly all spikes of layer conv2 (")
    for line in metrics(run):
        assert list(line["saturations"]) == list(line["firing_rates"]) == ["conv1", "conv2"]
        shares = [share / line["firing_rates"][name] for name, share in line["saturations"].items()]
        assert 0 < shares[0] <= 0.99 < shares[1] <= 1
    assert any("on the test images come as the window opens" in line for line in warnings(evaluate(run).out))


def test_a_resumed_run_neither_repeats_nor_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # at so small a rate nothing is learnt: at chance from the second epoch on
    changes = {"optimizer__lr": "1e-12", "training__epochs": "4", "network__weight_std": "0.01"}
    whole = train(*small(tmp_path / "whole", **changes))
    (told,) = (line for line in warnings(whole.out) if "than chance" in line)
    for epochs, repeats in ((1, 1), (2, 0), (3, 0)):
        run = tmp_path / f"broken{epochs}"
        cut_short(monkeypatch, epochs * STEPS + 1, *small(run, **changes))
        outcome = train("--resume", run)
        assert (outcome.code, warnings(outcome.out).count(told)) == (0, repeats)
        assert (run / "log.txt").read_text().count(told) == 1


def test_the_loss_of_a_run_that_diverges_is_told_of(tmp_path: Path) -> None:
    changes = {"training__epochs": "5", "training__patience": "null", "schedule": "{name: onecycle, rise: 1}"}
    outcome = train(*small(tmp_path / "run", **changes, optimizer__lr=2, optimizer__clip_norm="null"))
    assert outcome.code == 0
    assert any("the training loss rises, from " in line for line in warnings(outcome.out))


# Steps whose gradient is not finite


def test_a_step_is_skipped_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, STEPS + 3)
        outcome = train(*small(run, training__epochs=3))
    assert (outcome.code, outcome.err) == (0, "")
    *epochs, _ = metrics(run)
    assert [line["skipped_steps"] for line in epochs] == [0, 1, 0]
    # the batch counts for nothing, which shows in accuracies that are shares of the other images
    images = [1293, 1293 - 128, 1293]
    for line, count in zip(epochs, images, strict=True):
        assert 0 < line["train_loss"] < 3
        assert line["train_accuracy"] * count == pytest.approx(round(line["train_accuracy"] * count), abs=1e-6)
    advice = "lower optimizer.lr, or lower optimizer.clip_norm"
    told = f"warning: 1 step of epoch 2 was skipped, its gradient not being finite; {advice}"
    assert warnings(outcome.out) == [told]
    assert weights(run, "last")["optimizer.counts"].tolist()[1:] == [1, epochs_clipped(epochs), 0]
    for name in ("last", "best"):
        assert all(np.isfinite(array).all() for array in weights(run, name).values())


def epochs_clipped(epochs: list[dict[str, Any]]) -> int:
    return sum(line["clipped_steps"] for line in epochs)


def test_a_skipped_step_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With accumulation, too, of which a group is a step: the weights stay as the step before left them."""
    states: list[bytes] = []
    real = Optimizer.step

    def step(self: Optimizer) -> None:
        states.append(self.parameters.trained.tobytes())
        real(self)

    with monkeypatch.context() as patch:
        spoil(patch, 4)
        patch.setattr(Optimizer, "step", step)
        run = run_small(tmp_path / "run", training__epochs=1, training__accumulate=3)
    (line, _) = metrics(run)
    assert line["skipped_steps"] == 1 and len(states) == 4
    # batches 3 to 5 are the second step's
    assert [one == other for one, other in itertools.pairwise(states)] == [False, True, False]


@pytest.mark.parametrize(("longest", "ends"), [(5, True), (6, False), (None, False)])
def test_after_so_many_skipped_steps_in_a_row_the_run_ends(
    longest: int | None, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are before and after, and whenever somebody reads their count."""
    run = tmp_path / "run"
    arguments = small(run, training__epochs=2, training__max_skipped=longest)
    with monkeypatch.context() as patch:
        spoil(patch, *range(1, 5), *range(STEPS + 1, STEPS + 6), STEPS + 8)
        outcome = train(*arguments)
    if not ends:
        assert (outcome.code, metrics(run)[1]["skipped_steps"]) == (0, 6)
        return
    assert refused(outcome) == (
        "error: 5 steps in a row were skipped in epoch 2: their gradients overflow; the last good weights are in "
        f"{run / 'last.safetensors'}; try a lower optimizer.lr or lower optimizer.clip_norm\n"
    )
    assert [line["skipped_steps"] for line in metrics(run)] == [4]
    # the weights are those of the first epoch, and the run goes on from there
    outcome = train("--resume", run)
    assert outcome.code == 0 and metrics(run)[1]["skipped_steps"] == 0


def test_a_row_goes_on_over_the_end_of_an_epoch_and_over_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = range(STEPS - 2, STEPS + 3)
    run, whole = tmp_path / "run", tmp_path / "whole"
    for output, longest in ((run, 5), (whole, 6)):
        with monkeypatch.context() as patch:
            spoil(patch, *row)
            outcome = train(*small(output, training__max_skipped=longest))
        assert ("5 steps in a row" in outcome.err) == (longest == 5)
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        spoil(patch, *row)
        cut_short(patch, STEPS + 1, *small(broken, training__max_skipped=6))
    with monkeypatch.context() as patch:
        # the numbers begin anew
        spoil(patch, *(number - STEPS for number in row))
        resumes_to(whole, broken)


def test_rows_are_counted_anew_by_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long one that was borne is no excuse for another."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, *range(1, 7))
        assert train(*small(run, training__epochs=1)).code == 0
    with monkeypatch.context() as patch:
        spoil(patch, *range(2, 7))
        outcome = train("--resume", run, "--set", "training.epochs=2", "--set", "training.max_skipped=3")
    refused(outcome, "5 steps in a row were skipped in epoch 2")


def test_a_row_whose_weights_overflow_names_the_layer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = small(run, **STEADY, optimizer__lr="1e38", training__max_skipped=3)
    sentence = refused(train(*arguments), "steps in a row were skipped in epoch 1: the potentials of layer ")
    assert any(f"layer {name} overflow; " in sentence for name in ("conv1", "conv2", "readout"))
    assert sentence.endswith("try a lower optimizer.lr or set optimizer.clip_norm\n")
    assert all(np.isfinite(array).all() for array in weights(run, "last").values())


def test_an_epoch_without_any_finite_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, *range(STEPS))
        outcome = train(*small(run))
    assert (outcome.code, outcome.err) == (0, "")
    assert "epoch 1/2: loss not finite, training 0.00 %" in outcome.out
    text = (run / "metrics.jsonl").read_text()
    assert json.loads(text.splitlines()[0])["train_loss"] is None and "NaN" not in text
    assert metrics(run)[1]["train_loss"] > 0
    # they were worked on all the same
    assert metrics(run)[0]["images_per_second"] * metrics(run)[0]["seconds"] == pytest.approx(1293)


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An infinite weight of a neuron that fires all the same shows in no loss."""
    run, real = tmp_path / "run", Trainer._train

    def train_and_spoil(self: Trainer) -> Any:
        totals = real(self)
        if self.progress.epochs == 1:
            self.network.layers[0].weights[..., 0] = np.inf  # type: ignore[attr-defined]
        return totals

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train", train_and_spoil)
        outcome = train(*small(run))
    refused(
        outcome,
        "the weights are no longer finite in epoch 2: the potentials of layer conv1 overflow",
        str(run / "last.safetensors"),
    )
    for name in ("best", "last"):
        assert all(np.isfinite(array).all() for array in weights(run, name).values())
    assert len(metrics(run)) == 1


def test_no_checkpoint_within_an_epoch_is_written_while_steps_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights may be what is wrong, and the checkpoint before be the last good one."""
    run, arguments = tmp_path / "run", small(tmp_path / "run", training__checkpoint_every={"steps": 1})
    with monkeypatch.context() as patch:
        spoil(patch, *range(STEPS + 3, 2 * STEPS))
        cut_short(patch, STEPS + 8, *arguments)
    _, metadata = checkpoint.load(run / "last.safetensors")
    assert metadata["progress"]["batches"] == 3


def test_totals_within_an_epoch_go_on_with_the_batches_that_were_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    changes = {"training__checkpoint_every": {"steps": 5}}
    for output, steps in ((whole, None), (broken, STEPS + 6)):
        with monkeypatch.context() as patch:
            spoil(patch, STEPS + 2)
            if steps is None:
                run_small(output, **changes)
            else:
                cut_short(patch, steps, *small(output, **changes))
    assert checkpoint.load(broken / "last.safetensors")[1]["progress"]["sums"][-1] == 1
    resumes_to(whole, broken)


def test_a_bound_that_is_lowered_does_not_count_rows_that_were_borne(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, 1, 2, 3, 4)
        cut_short(patch, STEPS + 1, *small(run))
    outcome = train("--resume", run, "--set", "training.max_skipped=2")
    assert (outcome.code, outcome.err) == (0, "")
