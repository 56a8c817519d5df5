"""Runs on classes of uneven size: weights in the loss."""

from pathlib import Path

from helpers.commands import run_small, timeless, weights


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
