"""Images of one's own from the command line: a folder of PNGs trains to the bits of idx files of the same images."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import evaluate, metrics, small, timeless, train, weights
from helpers.damage import remove
from helpers.datasets_on_disk import aged, separable, write_idx, write_images
from helpers.refusals import refused, tree

from ttfs_cupy.data.sources import mnist
from ttfs_cupy.experiment.files import checkpoint

HALVES = {"train": "train", "t10k": "test"}
NAMES = [f"{label} {name.replace('/', '-')}" for label, name in enumerate(mnist.CLOTHES)]


@pytest.fixture(autouse=True)
def cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of data sets beside the kernels' own."""
    monkeypatch.setattr("ttfs_cupy.data.sources.kept.cache_folder", lambda: here.parent)
    monkeypatch.setattr("ttfs_cupy.data.sources.kept.places", lambda: iter([here.parent]))


def real(kind: str, header: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first ones of Debian's idx file."""
    content = gzip.decompress((mnist.DEBIAN_FASHION_MNIST / f"{kind}-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, math.prod(shape), offset=header).reshape(shape)


def write_all_ways(root: Path, counts: dict[str, int]) -> None:
    """The same images as idx files, as PNGs in class folders, and as arrays."""
    arrays = {}
    for half, name in HALVES.items():
        count = counts[half]
        if mnist.DEBIAN_FASHION_MNIST.is_dir():
            images = real(f"{half}-images-idx3", 16, (count, 28, 28))
            labels = real(f"{half}-labels-idx1", 8, (count,))
        else:
            images, labels = separable(count, (28, 28, 1), 10, seed=len(half))
            images = images[..., 0]
        write_idx(root / "FashionMNIST" / "raw", half, images, labels)
        prefix = "" if half == "train" else "test_"
        arrays |= {f"{prefix}images": images, f"{prefix}labels": labels}
        named = enumerate(zip(images, labels, strict=True))
        files = {f"{NAMES[label]}/{number:05}.png": image for number, (image, label) in named}
        write_images(root / "folder" / name, files, compress_level=1)
    aged(root / "folder")
    np.savez(root / "arrays.npz", **arrays)


def test_fashion_mnist_as_files_of_every_kind(here: Path) -> None:
    write_all_ways(here, {"train": 2500, "t10k": 2000})
    # mean and deviation are computed of one's own images, and published ones of Fashion-MNIST: this code needs none
    shared = {
        "network__model": "[{convolution: 8, kernel: 4, stride: 4, padding: 0}]",
        "tune": False,
        "data__validation": 0.1,
        "training__epochs": 1,
        "optimizer__lr": 0.01,
    }
    roots = {"fmnist": here, "folder": here / "folder", "arrays": here / "arrays.npz"}
    for name, root in roots.items():
        outcome = train(*small(here / f"run-{name}", data__dataset=name, data__root=str(root), **shared))
        assert (outcome.code, outcome.err) == (0, "")
        assert f"{name}: 2250 training, 250 validation and 2000 test images" in outcome.out
    expected = timeless(here / "run-fmnist")
    assert len(expected) == 2 and expected[-1]["test_images"] == 2000
    assert expected[-1]["test_accuracy"] > 0.3
    for name in ("folder", "arrays"):
        assert timeless(here / f"run-{name}") == expected
        for which in ("best", "last"):
            ours, theirs = weights(here / f"run-{name}", which), weights(here / "run-fmnist", which)
            assert all(np.array_equal(ours[key], theirs[key]) for key in theirs) and ours.keys() == theirs.keys()
    # from the copy that the first run kept
    assert len(list((here.parent / "datasets").glob("folder-*"))) == 1
    again = train(*small(here / "again", data__dataset="folder", data__root=str(here / "folder"), **shared))
    assert (again.code, again.err) == (0, "") and timeless(here / "again") == expected
    for which in ("best", "last"):
        assert checkpoint.metadata(here / "run-folder" / f"{which}.safetensors")["class_names"] == NAMES
        assert "class_names" not in checkpoint.metadata(here / "run-arrays" / f"{which}.safetensors")
    measured = evaluate(here / "run-folder")
    assert f"test accuracy  {100 * expected[-1]['test_accuracy']:.2f} %" in measured.out and measured.err == ""


def photographs(root: Path, size: tuple[int, int] = (40, 30)) -> None:
    """Of each class a pattern of large squares, which is there in any size."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "owl"):
        pattern = np.kron(rng.integers(0, 2, (4, 3, 3)) * 150, np.ones((size[0] // 4, size[1] // 3, 1)))
        images = ((rng.integers(0, 100, (*size, 3)) + pattern).astype(np.uint8) for _ in range(20))
        write_images(root / name, {f"{number}.jpg": image for number, image in enumerate(images)})


def own(root: Path, output: str = "run", **changes: object) -> list[str]:
    settings = {"data__size": [16, 12], "training__batch_size": 8, "data__test": 0.25, **changes}
    return small(Path(output), data__dataset="folder", data__root=str(root), **settings)


def test_photographs_from_folder_to_accuracy_and_on(here: Path) -> None:
    """Any size of photographs, resumed and evaluated; and classes that are others by then."""
    photographs(here / "photographs")
    outcome = train(*own(here / "photographs", training__epochs=4, optimizer__lr=0.01, data__validation=0.2))
    assert (outcome.code, outcome.err) == (0, "")
    assert "folder: 36 training, 9 validation and 15 test images" in outcome.out
    assert metrics(here / "run")[-1]["test_accuracy"] > 0.6
    assert evaluate(here / "run").code == 0
    assert train("--resume", here / "run").code == 0
    (here / "photographs" / "owl").rename(here / "photographs" / "wolf")
    words = ["this run was begun with the classes ['cat', 'dog', 'owl'], and the data now have ['cat', 'dog', 'wolf']"]
    refused(train("--resume", here / "run"), *words)
    warned = evaluate(here / "run")
    assert warned.code == 0 and "the run was trained on the classes ('cat', 'dog', 'owl')" in warned.err + warned.out


def truncated(root: Path) -> None:
    file = root / "owl" / "7.jpg"
    file.write_bytes(file.read_bytes()[:300])


def empty(root: Path) -> None:
    (root / "cat" / "3.jpg").write_bytes(b"")


def no_image(root: Path) -> None:
    (root / "dog" / "0.png").write_text("no image")


def no_class(root: Path) -> None:
    for name in ("cat", "dog"):
        remove(root / name)


def empty_class(root: Path) -> None:
    (root / "emu").mkdir()


def absent(root: Path) -> None:
    remove(root)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (truncated, ["owl/7.jpg is damaged"]),
        (empty, ["cat/3.jpg is empty"]),
        (no_image, ["dog/0.png is no image"]),
        (no_class, ["the class folder 'owl' alone"]),
        (empty_class, ["the class folder", "emu holds no image"]),
        (absent, ["photographs cannot be read: no such file"]),
    ],
)
def test_folders_that_are_refused(break_it: Callable[[Path], None], words: list[str], here: Path) -> None:
    photographs(here / "photographs")
    break_it(here / "photographs")
    before = tree(here)
    refused(train(*own(here / "photographs")), *words)
    assert tree(here) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__size": [3, 3]}, ["layer pool2 does not fit", "window of 2 x 2", "1 x 1 (images are 3 x 3)"]),
        ({"data__channels": 2}, ["data.channels must be 1 or 3, or null, not 2"]),
        ({"data__test": 1}, ["data.test must be a number above 0, below 1, or null, not 1"]),
        ({"training__batch_size": 500}, ["training.batch_size 500 is larger than the training set"]),
    ],
)
def test_settings_that_are_refused(changes: dict[str, object], words: list[str], here: Path) -> None:
    photographs(here / "photographs")
    refused(train(*own(here / "photographs", **changes)), *words)
    assert not (here / "run").exists()


def test_arrays_that_are_refused(here: Path) -> None:
    np.savez(here / "set.npz", images=np.zeros((4, 8, 8)) + 9, labels=np.arange(4) % 2)
    refused(
        train(*small(here / "run", data__dataset="arrays", data__root=str(here / "set.npz"))),
        "set.npz: images are floats that reach from 9 to 9, not from 0 to 1",
    )
    assert not (here / "run").exists()


def test_an_image_that_changes_places_is_noticed(here: Path) -> None:
    """Of a folder without halves another image is then held out, and another tested, of the same labels."""
    folder = here / "photographs"
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    write_images(folder, {f"{'ab'[number // 20]}/{number:02}.png": image for number, image in enumerate(images)})
    run = here / "run"
    own = {"data__dataset": "folder", "data__root": str(folder), "data__validation": "0.2"}
    assert train(*small(run, tune=False, training__batch_size="4", **own)).code == 0
    assert evaluate(run).code == 0
    (folder / "a" / "00.png").rename(folder / "a" / "19 again.png")
    assert "was made with other images, or with these in another order" in refused(evaluate(run))
    (run / "split.json").unlink()
    assert evaluate(run).code == 0
