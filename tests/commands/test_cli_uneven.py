"""Runs on classes of uneven size: weights in the loss, balanced epochs, accuracy by class."""

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import cut_short, evaluate, metrics, resumes_to, run_small, small, timeless, train, weights
from helpers.datasets_on_disk import MNIST_FOLDERS, separable, write_idx
from helpers.refusals import refused

# of Fashion-MNIST's ten classes
TRAINING, TEST = (100, 30, 12, 3), (40, 0, 12, 4)


def write_uneven(root: Path) -> str:
    """A small Fashion-MNIST whose classes have these numbers of images; its root."""
    for half, sizes, seed in (("train", TRAINING, 0), ("t10k", TEST, 1)):
        images, labels = separable(10 * max(sizes), (28, 28, 1), 10, seed, noise=20)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == k)[:size] for k, size in enumerate(sizes)]))
        write_idx(root / MNIST_FOLDERS["fmnist"] / "raw", half, images[chosen, ..., 0], labels[chosen], zipped=False)
    return str(root)


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


def test_accuracy_by_class_is_told_where_classes_are_uneven(tmp_path: Path) -> None:
    """A step or two, after which the network knows the large class alone. Classes with names are called by these."""
    root = write_uneven(tmp_path / "data")
    settings = {"data__dataset": "fmnist", "data__root": root, "network__model": "[2, P]"}
    outcome = train(*small(tmp_path / "run", training__batch_size=60, training__epochs=1, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    epoch, last = metrics(tmp_path / "run")
    accuracies = last["class_accuracies"]
    assert [one is None for one in accuracies] == [not size for size in (*TEST, 0, 0, 0, 0, 0, 0)]
    right = [accuracy * size for accuracy, size in zip(accuracies, TEST, strict=False) if size]
    assert sum(right) == pytest.approx(last["test_accuracy"] * sum(TEST)) and all(one == round(one) for one in right)
    known = [one for one in accuracies if one is not None]
    balanced = last["balanced_accuracy"]
    assert balanced == pytest.approx(np.mean(known)) and balanced != pytest.approx(last["test_accuracy"])
    # the mean of four classes, of which 10, 3, 1 and 1 images are held out
    validated = epoch["validation_balanced_accuracy"]
    assert 0 <= validated <= 1 and 4 * 30 * validated == pytest.approx(round(4 * 30 * validated))
    assert validated != pytest.approx(epoch["validation_accuracy"])
    assert f"test accuracy {100 * last['test_accuracy']:.2f} % (balanced {100 * balanced:.2f} %) on 56" in outcome.out
    printed = evaluate(tmp_path / "run").out
    lowest = min((one, k) for k, one in enumerate(accuracies) if one is not None)
    name = ("T-shirt/top", "Trouser", "Pullover", "Dress")[lowest[1]]
    said = f"{100 * balanced:.2f} %, the mean of the classes; lowest is class {name} with {100 * lowest[0]:.2f} %"
    assert f"balanced       {said} of {TEST[lowest[1]]}\n" in printed


def test_even_classes_need_no_such_words(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=1)
    epoch, last = metrics(run)
    assert len(last["class_accuracies"]) == 10
    assert last["balanced_accuracy"] == pytest.approx(np.mean(last["class_accuracies"]))
    assert "balanced" not in (run / "log.txt").read_text() + evaluate(run).out
    assert "validation_balanced_accuracy" not in epoch
