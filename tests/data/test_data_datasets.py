import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import DATASETS, ImageSet, load_dataset
from ttfs_cupy.data.sources import datasets, mnist
from ttfs_cupy.data.sources.images import checked
from ttfs_cupy.data.sources.raw import Raw

needs_fashion_mnist = pytest.mark.skipif(
    not mnist.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


def test_the_names():
    idx = ["mnist", "fmnist", "kmnist", "emnist", "qmnist"]
    assert list(DATASETS) == [*idx, "cifar10", "cifar100", "svhn", "stl10", "digits", "events", "folder", "arrays"]


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(
        UserError, match=r"no data set 'imagenet'; there are mnist, fmnist, .*, digits, events, folder, arrays"
    ):
        load_dataset("imagenet", tmp_path)


def test_importing_the_package_loads_no_heavy_library_and_digits_no_torch():
    program = """
import sys
from ttfs_cupy.data import load_dataset
print(sorted({"torch", "torchvision", "sklearn"} & set(sys.modules)))
load_dataset("digits", ".")
print(sorted({"torch", "torchvision"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["[]", "[]"]


def test_digits_in_two_halves_need_no_files(tmp_path):
    data = load_dataset("digits", tmp_path / "absent")
    assert (data.name, data.classes, data.input_shape) == ("digits", 10, (1, 8, 8))
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.maximum == data.test.maximum == 16 and data.class_names == tuple("0123456789")
    assert data.train.images.dtype == np.uint8 and data.train.images.max() == 16
    # a fifth of each class
    for train, test in zip(np.bincount(data.train.labels), np.bincount(data.test.labels), strict=True):
        assert abs(test - (train + test) / 5) <= 1
    pixels = data.train.images / 16
    assert data.mean.dtype == data.std.dtype == np.float32 and data.mean.shape == data.std.shape == (1,)
    assert data.mean[0] == pytest.approx(pixels.mean()) and data.std[0] == pytest.approx(pixels.std())


def test_a_mean_and_a_deviation_stand_in_place_of_the_sets_own(tmp_path):
    own = load_dataset("digits", tmp_path)
    for mean, std in ((0.25, 2), ([0.25], 2), (np.array([0.25]), np.float32(2))):
        data = load_dataset("digits", tmp_path, mean=mean, std=std)
        assert data.mean.dtype == data.std.dtype == np.float32
        assert (data.mean.tolist(), data.std.tolist()) == ([0.25], [2.0])
        assert np.array_equal(data.train.images, own.train.images)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 2, 3), dtype=np.uint8)
    labels = np.arange(6) % 2
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels, test_images=pixels, test_labels=labels)
    data = load_dataset("arrays", tmp_path / "set.npz", mean=0.5, std=(0.1, 0.2, 0.3))
    assert data.mean.tolist() == [0.5] * 3 and data.std.tolist() == np.float32([0.1, 0.2, 0.3]).tolist()
    assert data.description.mean is data.mean


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": 0.5}, "data.mean and data.std must be given together: set both, or neither"),
        ({"std": 0.5}, "data.mean and data.std must be given together: set both, or neither"),
        ({"mean": 0.5, "std": 0}, "data.std must be a number from 1e-6 to 1e6, not 0"),
        ({"mean": "x", "std": 1}, "data.mean must be a number from -1e6 to 1e6, not 'x'"),
        ({"mean": 0, "std": [1, -1]}, "each number of data.std must be a number from 1e-6 to 1e6, not -1"),
        (
            {"mean": 0, "std": [1, 1, 1]},
            "data.std has 3 numbers, and an image here 1 channel: give one number, or one for each channel",
        ),
        ({"mean": [], "std": 1}, "data.mean has 0 numbers, and an image here 1 channel: give one number, or one for"),
    ],
)
def test_a_mean_or_a_deviation_that_does_not_fit(tmp_path, given, said):
    with pytest.raises(UserError) as caught:
        load_dataset("digits", tmp_path, **given)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_all_pixels(tmp_path, monkeypatch, piece, channels):
    monkeypatch.setattr(datasets, "PIECE", piece * channels)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 5, 6, channels), np.uint8) // np.arange(1, channels + 1)
    np.savez(tmp_path / "set.npz", images=pixels.astype(np.uint8), labels=np.arange(40) % 2)
    data = load_dataset("arrays", tmp_path / "set.npz")
    scaled = data.train.images / 255
    assert np.array_equal(data.mean, scaled.mean((0, 1, 2)).astype(np.float32))
    assert np.array_equal(data.std, scaled.std((0, 1, 2)).astype(np.float32))


def test_digits_are_all_there_and_always_divided_alike(tmp_path):
    from sklearn.datasets import load_digits

    first, again = load_dataset("digits", tmp_path), load_dataset("digits", tmp_path)
    assert np.array_equal(first.test.images, again.test.images)
    found = np.concatenate([first.train.images, first.test.images]).reshape(1797, 64)
    every = load_digits().data.astype(np.uint8)
    assert np.array_equal(found[np.lexsort(found.T)], every[np.lexsort(every.T)])


def test_digits_without_scikit_learn(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'ttfs-cupy\[digits\]'"):
        load_dataset("digits", tmp_path)


def test_images_without_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match=r"torchvision is installed, but cannot be imported.*pip install torchvision"):
        load_dataset("cifar10", tmp_path, download=True)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libgomp.so.1: failed to map segment from shared object"),
        ImportError("/lib/libblas.so: cannot allocate memory in static TLS block"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=repr,
)
def test_an_import_for_which_the_memory_does_not_suffice(tmp_path, monkeypatch, error):
    """The package is there: to install it is no help."""

    def fails(_):
        raise error

    monkeypatch.setattr(importlib, "import_module", fails)
    for name in ("digits", "cifar10"):
        with pytest.raises(UserError, match="the memory does not suffice to import") as caught:
            load_dataset(name, tmp_path, download=True)
        assert "pip" not in str(caught.value) and "ulimit -v" in str(caught.value)


@needs_fashion_mnist
def test_debians_fashion_mnist_is_read_in_place(tmp_path):
    data = load_dataset("fmnist", tmp_path)
    assert (data.classes, data.input_shape) == (10, (1, 28, 28))
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.train.images.shape == (60000, 28, 28, 1) and data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32 and data.train.labels[:5].tolist() == [9, 0, 0, 3, 0]
    # the published constants are these very pixels'
    assert data.mean[0] == pytest.approx(data.train.images.mean() / 255, abs=1e-4)
    assert data.std[0] == pytest.approx(data.train.images.std() / 255, abs=1e-4)
    assert list(tmp_path.iterdir()) == []


def image_set(count=4, shape=(2, 2, 1), maximum=255, value=7):
    return ImageSet(np.full((count, *shape), value, np.uint8), np.arange(count, dtype=np.int32), maximum)


def test_taking_keeps_images_and_labels_together():
    images = image_set()
    images.images.setflags(write=True)
    images.images[2] = 99
    taken = images.take(np.array([2, 0]))
    assert len(images) == 4 and len(taken) == 2
    assert taken.labels.tolist() == [2, 0] and taken.images[:, 0, 0, 0].tolist() == [99, 7]
    assert image_set(maximum=16).take(np.array([1])).maximum == 16
    assert len(images.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize(
    ("images", "labels", "maximum", "message"),
    [
        (np.zeros((2, 4, 4, 1)), np.zeros(2, np.int32), 255, r"must be uint8 .* not float64"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32), 255, r"not uint8 of shape \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64), 255, r"must be int32 .* not int64"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int32), 255, r"one for each image, .* \(3,\)"),
        (np.full((2, 4, 4, 1), 17, np.uint8), np.zeros(2, np.int32), 16, "value 17, above the maximum 16"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32), 0, "from 1 to 255, not 0"),
    ],
)
def test_refuses_arrays_that_are_no_images(images, labels, maximum, message):
    with pytest.raises(UserError, match=message):
        ImageSet(images, labels, maximum)


def test_a_reader_that_finds_nothing_is_told_so():
    nothing = Raw(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), "this folder")
    with pytest.raises(UserError, match="this folder holds no images"):
        checked(nothing, (8, 8, 1), 10, 255)
