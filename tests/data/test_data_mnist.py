import gzip
import hashlib
import re
import urllib.error
import urllib.request
from functools import partial

import numpy as np
import pytest
import torchvision
from helpers.datasets_on_disk import idx, separable, serving, write_idx, write_mnist
from helpers.refusals import refused_dataset

from ttfs_cupy.data import load_dataset
from ttfs_cupy.data.sources import mnist


@pytest.fixture(autouse=True)
def debian(tmp_path, monkeypatch):
    """An empty folder in place of Debian's, so that its package makes no difference."""
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    return tmp_path / "debian"


refused = partial(refused_dataset, name="mnist")


@pytest.mark.parametrize("name", ["mnist", "fmnist"])
@pytest.mark.parametrize("zipped", [True, False])
def test_reads_torchvisions_folder_zipped_or_not(tmp_path, name, zipped):
    folder = write_mnist(tmp_path, name, train=60, test=20, zipped=zipped)
    before = sorted(folder.iterdir())
    data = load_dataset(name, tmp_path)
    assert (data.name, data.classes, data.input_shape) == (name, 10, (1, 28, 28))
    for half, count, seed in ((data.train, 60, 0), (data.test, 20, 1)):
        images, labels = separable(count, (28, 28, 1), 10, seed)
        assert np.array_equal(half.images, images) and np.array_equal(half.labels, labels)
        assert half.images.dtype == np.uint8 and half.labels.dtype == np.int32 and half.maximum == 255
    assert sorted(folder.iterdir()) == before


def test_the_published_constants(tmp_path):
    for name in ("mnist", "fmnist"):
        write_mnist(tmp_path, name)
    assert load_dataset("mnist", tmp_path).mean.tolist() == pytest.approx([0.1307])
    assert load_dataset("mnist", tmp_path).std.tolist() == pytest.approx([0.3081])
    assert load_dataset("fmnist", tmp_path).mean.tolist() == pytest.approx([0.2860])
    assert load_dataset("fmnist", tmp_path).std.tolist() == pytest.approx([0.3530])


def test_what_lies_under_root_comes_before_debians(tmp_path, debian):
    for folder, count in ((debian, 30), (tmp_path / "FashionMNIST" / "raw", 50)):
        for half in ("train", "t10k"):
            images, labels = separable(count, (28, 28, 1), 10)
            write_idx(folder, half, images[..., 0], labels)
    assert len(load_dataset("fmnist", tmp_path).train) == 50
    assert len(load_dataset("fmnist", tmp_path / "elsewhere").train) == 30
    refused(tmp_path / "elsewhere", "the data set mnist is not in")


def test_absent_data_say_what_to_do(tmp_path):
    refused(tmp_path, tmp_path / "MNIST" / "raw", "data.download: true", "train-images-idx3-ubyte")
    refused(tmp_path, tmp_path / "FashionMNIST" / "raw", "dataset-fashion-mnist", name="fmnist")


def test_half_a_data_set_is_absent(tmp_path):
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    refused(tmp_path, "is not in", folder)


def test_a_truncated_gz_is_named(tmp_path):
    file = write_mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-100])
    refused(tmp_path, file, "cannot be unzipped")


def test_what_is_no_gz_is_named(tmp_path):
    file = write_mnist(tmp_path) / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(b"<html>404</html>")
    refused(tmp_path, file, "cannot be unzipped")


@pytest.mark.parametrize("cut", [-1, 20, 3, 0])
def test_a_truncated_file_is_named(tmp_path, cut):
    file = write_mnist(tmp_path, zipped=False) / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:cut])
    refused(tmp_path, file, "damaged, " if cut in (-1, 20) else "is not an idx file")


def test_a_file_too_long_is_named(tmp_path):
    file = write_mnist(tmp_path, zipped=False) / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes() + b"more")
    refused(tmp_path, file, f"{16 + 60 * 784 + 4} bytes where its header says {16 + 60 * 784}")


def test_labels_in_place_of_images_are_named(tmp_path):
    folder = write_mnist(tmp_path)
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    refused(tmp_path, file, "is not an idx file of bytes in 3 dimension(s)")


@pytest.mark.parametrize(
    ("kind", "array", "expected"),
    [
        ("labels-idx1-ubyte", np.zeros(59), "60 images but 59 labels"),
        ("labels-idx1-ubyte", np.full(60, 10), "the label 10, outside the 10 classes 0..9"),
        ("images-idx3-ubyte", np.zeros((60, 28, 27)), "(28, 27, 1), not (28, 28, 1)"),
        ("images-idx3-ubyte", np.zeros((0, 28, 28)), "is empty"),
        ("labels-idx1-ubyte", np.zeros(0), "is empty"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, kind, array, expected):
    folder = write_mnist(tmp_path)
    (folder / f"train-{kind}.gz").write_bytes(gzip.compress(idx(array)))
    refused(tmp_path, folder, "train", expected)


def test_a_failing_download_is_one_sentence(tmp_path, monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    for name in ("mnist", "fmnist", "cifar10", "cifar100"):
        refused(tmp_path, f"the data set {name} could not be downloaded", "no route", name=name, download=True)


def test_downloads_through_torchvision_what_is_missing(tmp_path, monkeypatch):
    server = write_mnist(tmp_path / "server")
    md5s = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in sorted(server.iterdir())]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", md5s)
    with serving(server) as address:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
        assert len(load_dataset("mnist", tmp_path / "root", download=True).train) == 60
    assert (tmp_path / "root" / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()
    # and then no more
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    assert len(load_dataset("mnist", tmp_path / "root", download=True).test) == 20


def test_root_may_start_at_home(tmp_path, monkeypatch):
    write_mnist(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_dataset("mnist", "~/sets").train) == 60
    refused("~/nothing", re.sub("^~", str(tmp_path), "~/nothing/MNIST/raw"))
