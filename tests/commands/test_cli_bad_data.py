"""Data sets that are missing, damaged or others than they say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import small, train
from helpers.datasets_on_disk import dump, write_cifar10, write_idx, write_mnist
from helpers.refusals import refused, tree

# an empty working directory
pytestmark = pytest.mark.usefixtures("here")


def absent(root: Path) -> str:
    return "mnist"


def truncated_mnist(root: Path) -> str:
    folder = write_mnist(root, zipped=False)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1000])
    return "mnist"


def truncated_gzip(root: Path) -> str:
    file = write_mnist(root) / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-50])
    return "mnist"


def mnist_of_another_shape(root: Path) -> str:
    folder = write_mnist(root)
    write_idx(folder, "train", np.zeros((60, 27, 28), np.uint8), np.zeros(60, np.int64))
    return "mnist"


def truncated_cifar(root: Path) -> str:
    file = write_cifar10(root) / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-200])
    return "cifar10"


def truncated_cifar_archive(root: Path) -> str:
    archive = write_cifar10(root, archive=True)
    archive.write_bytes(archive.read_bytes()[:2000])
    return "cifar10"


def cifar_of_another_shape(root: Path) -> str:
    folder = write_cifar10(root)
    dump(folder / "test_batch", {"data": np.zeros((5, 3 * 31 * 32), np.uint8), "labels": [0] * 5})
    return "cifar10"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (absent, ["the data set mnist is not in", "data.download"]),
        (truncated_mnist, ["train-images-idx3-ubyte", "damaged"]),
        (truncated_gzip, ["t10k-images-idx3-ubyte.gz", "cannot be unzipped"]),
        (mnist_of_another_shape, ["MNIST", "(27, 28, 1)", "(28, 28, 1)"]),
        (truncated_cifar, ["data_batch_3", "damaged"]),
        (truncated_cifar_archive, ["cifar-10-python.tar.gz", "cannot be unpacked"]),
        (cifar_of_another_shape, ["test_batch", "32x32"]),
    ],
)
def test_datasets(break_it: Callable[[Path], str], words: list[str], here: Path) -> None:
    (here / "data").mkdir()
    name = break_it(here / "data")
    before = tree(here)
    settings = {"data__dataset": name, "data__root": str(here / "data"), "training__batch_size": 8}
    refused(train(*small(here / "out", **settings)), *words)
    assert tree(here) == before
