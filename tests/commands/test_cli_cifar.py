"""The bundled configs on CIFAR's own format, and real Fashion-MNIST: from the command line to test accuracy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import evaluate, metrics, train, weights
from helpers.datasets_on_disk import write_cifar10, write_cifar100, write_mnist
from reference.comparison import DEVICE

from ttfs_cupy.data.sources import mnist
from ttfs_cupy.experiment.config import load_config


def arguments(name: str, root: Path, output: Path, **changes: Any) -> list[str]:
    values = {"data.root": root, "training.epochs": 1, **{key.replace("__", "."): changes[key] for key in changes}}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return [name, "--output", str(output), "--device", DEVICE, *settings]


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("vgg11_cifar10", True),
        ("vgg11_cifar10", False),
        ("vgg11_cifar100", True),
        ("t2fsnn_vgg11_cifar10", True),
        ("t2fsnn_vgg11_cifar100", True),
    ],
)
def test_cifar_configs_end_to_end(name: str, archive: bool, tmp_path: Path) -> None:
    if name.endswith("100"):
        write_cifar100(tmp_path / "data", train=200, test=100, archive=archive)
        train_images, validation_images, test_images, classes = 180, 20, 100, 100
    else:
        write_cifar10(tmp_path / "data", train=60, test=21, archive=archive)
        train_images, validation_images, test_images, classes = 54, 6, 21, 10
    run = tmp_path / "run"
    # batches of which the last one is smaller, in each of the three sets
    settings = {"network__model": "[8, P, 16, P]", "training__batch_size": 16}
    outcome = train(*arguments(name, tmp_path / "data", run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    counts = f"{train_images} training, {validation_images} validation and {test_images} test images"
    assert counts in outcome.out
    epoch, last = metrics(run)
    assert np.isfinite([epoch["train_loss"], epoch["validation_loss"], last["test_loss"]]).all()
    assert last["test_images"] == test_images
    assert last["test_accuracy"] * test_images == pytest.approx(round(last["test_accuracy"] * test_images))
    assert weights(run)["readout.weight"].shape == (classes, 16 * 8 * 8)
    assert ("not a causal" in outcome.out) is name.startswith("t2fsnn")
    again = evaluate(run)
    assert f"test accuracy  {100 * last['test_accuracy']:.2f} %" in again.out
    # nothing of the recipe was lost on the way
    recipe, used = load_config(name), load_config(run / "config.yaml")
    assert (used.optimizer, used.schedule, used.data.augment) == (recipe.optimizer, recipe.schedule, "cifar")


def test_a_network_learns_what_is_in_cifar_files(tmp_path: Path) -> None:
    # a class is a pattern of pixels, which shifts and mirrors would make another one; chance is 10 %
    write_cifar10(tmp_path / "data", train=400, test=100)
    settings = {
        "network__model": "[16, P, P]",
        "data__augment": "none",
        "training__batch_size": 20,
        "training__epochs": 3,
        "optimizer__lr": 0.001,
        "schedule__warmup": 0,
    }
    run = tmp_path / "run"
    outcome = train(*arguments("vgg11_cifar10", tmp_path / "data", run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    assert metrics(run)[-1]["test_accuracy"] >= 0.5


def test_the_real_vgg11(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data", train=10, test=4)
    run = tmp_path / "run"
    settings = {"training__batch_size": 3, "data__validation": 0.3}
    outcome = train(*arguments("vgg11_cifar10", tmp_path / "data", run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    epoch, last = metrics(run)
    assert last["test_images"] == 4
    assert np.isfinite(epoch["train_loss"])
    widths = [128, 128, 128, 256, 256, 256, 512, 512, 512, 512]
    expected = {f"conv{number}.weight": width for number, width in enumerate(widths, 1)} | {"readout.weight": 10}
    assert {name: len(array) for name, array in weights(run).items()} == expected
    assert list(epoch["firing_rates"]) == [f"conv{number}" for number in range(1, 11)]


@pytest.mark.parametrize(
    "name", ["vgg7_mnist", "vgg7_fmnist", "small_fmnist", "t2fsnn_vgg7_mnist", "t2fsnn_vgg7_fmnist"]
)
def test_mnist_configs_end_to_end(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", "fmnist" if "fmnist" in name else "mnist", train=60, test=20)
    run = tmp_path / "run"
    settings = {"network__model": "[8, P, 8, P]", "training__batch_size": 16}
    outcome = train(*arguments(name, tmp_path / "data", run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    assert metrics(run)[-1]["test_images"] == 20


@pytest.mark.skipif(not mnist.DEBIAN_FASHION_MNIST.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_real_fashion_mnist(tmp_path: Path) -> None:
    """One epoch of a tiny network: 18,000 images are enough for a bar that no untrained network reaches."""
    settings = {
        "data__download": "false",
        "data__validation": 0.7,
        "network__model": "[{convolution: 8, kernel: 4, stride: 4, padding: 0}]",
        "network__psp_slope": 1,
        "optimizer__lr": 0.003,
    }
    run = tmp_path / "run"
    outcome = train(*arguments("small_fmnist", tmp_path / "absent", run, **settings))
    assert (outcome.code, outcome.err) == (0, "")
    epoch, last = metrics(run)
    assert "18000 training, 42000 validation and 10000 test images" in outcome.out
    assert last["test_images"] == 10_000
    # chance is 10 %; random features under an untrained readout stay at it too
    assert last["test_accuracy"] > 0.6
    # two large samples of one kind
    assert abs(last["test_accuracy"] - epoch["validation_accuracy"]) < 0.02
