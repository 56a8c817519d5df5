"""Runs on classes of uneven size: weights in the loss, and balanced epochs."""

from pathlib import Path

import pytest
from helpers.commands import cut_short, resumes_to, run_small, small, timeless, train, weights
from helpers.refusals import refused


def test_class_weights_reach_the_loss(tmp_path: Path) -> None:
    """None and ones are the same to the bit; others change the training, and their factor its loss alone."""
    settings = {"training__epochs": 1, "optimizer__lr": 1e-30}
    plain, ones, twos = (
        run_small(tmp_path / name, data__class_weights=value, **settings)
        for name, value in (("plain", None), ("ones", [1] * 10), ("twos", [2] * 10))
    )
    assert timeless(plain) == timeless(ones)
    (epoch, last), (doubled, same) = timeless(plain), timeless(twos)
    assert doubled["train_loss"] == 2 * epoch["train_loss"]
    assert doubled["validation_loss"] == epoch["validation_loss"] and same == last


def test_balanced_class_weights_train(tmp_path: Path) -> None:
    plain, balanced = (
        run_small(tmp_path / name, data__class_weights=value, training__epochs=1)
        for name, value in (("plain", None), ("balanced", "balanced"))
    )
    assert any((weights(plain)[name] != array).any() for name, array in weights(balanced).items())


def test_a_balanced_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"data__sampling": "balanced", "data__augment": "shift", "data__class_weights": [2, *[1] * 9]}
    whole, broken = run_small(tmp_path / "whole", **settings), tmp_path / "broken"
    cut_short(monkeypatch, 16, *small(broken, **settings))
    resumes_to(whole, broken)


def test_correcting_twice_is_refused(tmp_path: Path) -> None:
    outcome = train(*small(tmp_path / "run", data__sampling="balanced", data__class_weights="balanced"))
    refused(outcome, "data.class_weights and data.sampling are both balanced, which corrects twice: choose one")
    assert list(tmp_path.iterdir()) == []
