"""kmnist, emnist, qmnist, svhn and stl10: as they are published, damaged, and beside torchvision's own readers."""

import gzip
import hashlib
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision
from helpers.commands import metrics, small, train
from helpers.datasets_on_disk import (
    idx,
    separable,
    serving,
    write_emnist,
    write_mnist,
    write_qmnist,
    write_stl10,
    write_svhn,
)
from helpers.refusals import refused, refused_dataset

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import load_dataset

Write = Callable[..., Path]

# by name: what writes it, its classes and the shape of an image
SETS: dict[str, tuple[Write, int, tuple[int, int, int]]] = {
    "kmnist": (lambda root, **how: write_mnist(root, "kmnist", **how), 10, (28, 28, 1)),
    "emnist": (write_emnist, 47, (28, 28, 1)),
    "qmnist": (write_qmnist, 10, (28, 28, 1)),
    "svhn": (write_svhn, 10, (32, 32, 3)),
    "stl10": (write_stl10, 10, (96, 96, 3)),
}
PACKED: list[tuple[str, dict[str, bool]]] = [
    *((name, {"zipped": zipped}) for name in ("kmnist", "emnist", "qmnist", "svhn") for zipped in (True, False)),
    *(("stl10", {"archive": archive}) for archive in (True, False)),
]


@pytest.mark.parametrize(("name", "how"), PACKED)
def test_reads_it_as_published(name: str, how: dict[str, bool], tmp_path: Path) -> None:
    write, classes, shape = SETS[name]
    write(tmp_path, train=2 * classes, test=classes, **how)
    data = load_dataset(name, tmp_path)
    assert (data.name, data.classes, data.input_shape) == (name, classes, (shape[2], *shape[:2]))
    for half, count, seed in ((data.train, 2 * classes, 0), (data.test, classes, 1)):
        images, labels = separable(count, shape, classes, seed)
        assert np.array_equal(half.images, images) and np.array_equal(half.labels, labels)
        assert half.images.flags.c_contiguous


@pytest.mark.parametrize("name", SETS)
def test_standardised_by_its_own_pixels_or_what_everybody_takes(name: str, tmp_path: Path) -> None:
    write, classes, _ = SETS[name]
    write(tmp_path, train=classes)
    data = load_dataset(name, tmp_path)
    pixels = data.train.images / 255
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    if name == "svhn":
        mean, std = np.array([0.4377, 0.4438, 0.4728]), np.array([0.1980, 0.2010, 0.1970])
    assert data.mean == pytest.approx(mean, rel=1e-6) and data.std == pytest.approx(std, rel=1e-6)


def test_absent_data_say_what_to_do_without_torchvision(tmp_path: Path) -> None:
    program = """
import sys
from ttfs_cupy.data import load_dataset
for name in sys.argv[2:]:
    try:
        load_dataset(name, sys.argv[1])
    except Exception as error:
        print(name, type(error).__name__, error, *{"torch", "torchvision", "scipy"} & set(sys.modules), sep="\\t")
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path, *SETS], check=True, capture_output=True, text=True)
    told = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == [*SETS]
    for name, kind, sentence, *modules in told:
        assert sentence.startswith(f"the data set {name} is not in {tmp_path}") and "data.download: true" in sentence
        assert (kind, modules) == ("UserError", []), name


def test_the_same_as_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its classes as judges, without their checksums of the real files. EMNIST alone it leaves lying on its side."""
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    for name, (write, classes, _) in SETS.items():
        write(tmp_path, train=classes, **({} if name in ("svhn", "stl10") else {"zipped": False}))
    theirs: dict[str, Any] = {
        "kmnist": torchvision.datasets.KMNIST(tmp_path),
        "emnist": torchvision.datasets.EMNIST(tmp_path, split="balanced"),
        "qmnist": torchvision.datasets.QMNIST(tmp_path),
        "svhn": torchvision.datasets.SVHN(tmp_path),
        "stl10": torchvision.datasets.STL10(tmp_path),
    }
    assert theirs.keys() == SETS.keys()
    for name, their in theirs.items():
        ours = load_dataset(name, tmp_path).train
        assert len(their) == len(ours) and ours.class_names == CLASS_NAMES[name](their)
        for number, (image, label) in enumerate(their):
            pixels = np.asarray(image).T if name == "emnist" else np.asarray(image)
            assert np.array_equal(pixels, ours.images[number].squeeze()) and label == ours.labels[number], name


# As torchvision spells them; of SVHN it has none, of STL-10 only those in the archive, of QMNIST "0 - zero" and so on.
CLASS_NAMES: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "kmnist": lambda theirs: tuple(theirs.classes),
    "emnist": lambda theirs: tuple(theirs.classes),
    "qmnist": lambda theirs: tuple(name[0] for name in theirs.classes),
    "svhn": lambda _: tuple("0123456789"),
    "stl10": lambda _: ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
}


# Damage


def instead(file: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Another content of a file."""

    def change(root: Path) -> None:
        path = root / file
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return change


def mat(**arrays: Any) -> Callable[[Path], None]:
    """Another test file of SVHN."""
    return lambda root: scipy.io.savemat(root / "test_32x32.mat", arrays, do_compression=True)


def mat_of(matrix: bytes, packed: bool = True) -> bytes:
    """A MATLAB file of one array, given by its bytes."""
    whole = struct.pack("<2I", 14, len(matrix)) + matrix
    if packed:
        squeezed = zlib.compress(whole)
        whole = struct.pack("<2I", 15, len(squeezed)) + squeezed
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + whole


def array_of(*shape: int, content: bytes, kind: int = 2, size: int | None = None) -> bytes:
    """Flags, shape, name and numbers of X; size: how many bytes they are said to have."""
    sizes = struct.pack(f"<{len(shape)}i", *shape)
    return (
        struct.pack("<4I", 6, 8, 9, 0)
        + struct.pack("<2I", 5, len(sizes))
        + sizes
        + bytes(-len(sizes) % 8)
        + struct.pack("<2H4s", 1, 1, b"X")
        + struct.pack("<2I", kind, len(content) if size is None else size)
        + content
    )


QMNIST = "QMNIST/raw/qmnist-test-labels-idx2-int"
IMAGES, DIGITS = np.zeros((32, 32, 3, 4), np.uint8), np.full((4, 1), 10, np.uint8)
MAT = "test_32x32.mat"

DAMAGE: list[tuple[str, str, Callable[[Path], None], list[str]]] = [
    ("integers cut", "qmnist", instead(QMNIST, lambda old: old[:-4]), [QMNIST, "bytes where its header says 652"]),
    ("bytes for integers", "qmnist", instead(QMNIST, idx(np.zeros((20, 8)))), [QMNIST, "of 32-bit integers in 2"]),
    (
        "other columns",
        "qmnist",
        instead(QMNIST, struct.pack(">4B2I", 0, 0, 12, 2, 20, 2) + bytes(160)),
        [QMNIST, "must hold 8 numbers a label, not 2"],
    ),
    (
        "promises beyond the file",
        "qmnist",
        instead(QMNIST, struct.pack(">4B2I", 0, 0, 12, 2, 2**31, 8) + bytes(160)),
        [QMNIST, "172 bytes where its header says 68719476748"],
    ),
    (
        "a negative class",
        "qmnist",
        instead(QMNIST, struct.pack(">4B2I", 0, 0, 12, 2, 20, 8) + b"\xff" * 640),
        ["qmnist-test", "the label -1, outside the 10 classes"],
    ),
    (
        "too many classes",
        "emnist",
        instead("EMNIST/raw/emnist-balanced-test-labels-idx1-ubyte", idx(np.full(47, 47))),
        ["emnist-balanced-test", "the label 47, outside the 47 classes 0..46"],
    ),
    ("no MATLAB file", "svhn", instead(MAT, b"<html>" * 30), [MAT, "not a MATLAB file of version 5"]),
    ("an empty file", "svhn", instead(MAT, b""), [MAT, "not a MATLAB file of version 5"]),
    ("a header alone", "svhn", instead(MAT, lambda old: old[:128]), [MAT, "does not hold X, y"]),
    ("a tag cut short", "svhn", instead(MAT, lambda old: old[:132]), [MAT, "damaged (it ends within 8 bytes)"]),
    ("cut short", "svhn", instead(MAT, lambda old: old[:-9]), [MAT, "does not fit into it"]),
    ("only images", "svhn", mat(X=IMAGES), [MAT, "does not hold y"]),
    ("cells", "svhn", mat(X=np.array([[1, "a"]], object), y=DIGITS), [MAT, "X is no array of real numbers"]),
    ("complex numbers", "svhn", mat(X=IMAGES * 1j, y=DIGITS), [MAT, "X is no array of real numbers"]),
    ("text", "svhn", mat(X="images", y=DIGITS), [MAT, "X is no array of real numbers"]),
    ("numbers of another type", "svhn", mat(X=IMAGES * 300.5, y=DIGITS), [MAT, "must hold X, uint8 (32, 32, 3, N)"]),
    ("another shape", "svhn", mat(X=IMAGES[:31], y=DIGITS), [MAT, "(31, 32, 3), not (32, 32, 3)"]),
    ("fewer labels", "svhn", mat(X=IMAGES, y=DIGITS[1:]), [MAT, "4 images but 3 labels"]),
    ("no digit", "svhn", mat(X=IMAGES, y=DIGITS + 1), [MAT, "the label 11, where digits are 1 to 10"]),
    ("half a digit", "svhn", mat(X=IMAGES, y=DIGITS / 4), [MAT, "the label 2.5, where digits are 1 to 10"]),
    (
        "an array of terabytes",
        "svhn",
        instead(MAT, mat_of(array_of(32, 32, 3, 2**20, content=b"", size=3 << 30))),
        [MAT, "it cannot hold the 3221225472 bytes of X"],
    ),
    (
        "a shape that is none of its bytes",
        "svhn",
        instead(MAT, mat_of(array_of(2**31 - 1, 2**31 - 1, 2**31 - 1, content=bytes(64)))),
        [MAT, "X of shape (2147483647, 2147483647, 2147483647) has 64 bytes"],
    ),
    ("a negative shape", "svhn", instead(MAT, mat_of(array_of(-1, -1, content=b""))), [MAT, "the shape (-1, -1)"]),
    (
        "numbers that are none",
        "svhn",
        instead(MAT, mat_of(array_of(2, 2, content=bytes(8), kind=16), packed=False)),
        [MAT, "X is of type 16, which no numbers are"],
    ),
    (
        "more than an array",
        "svhn",
        instead(MAT, mat_of(array_of(2, 4, content=bytes(8)) + bytes(1000))),
        [MAT, "there is more than an array"],
    ),
    (
        "another checksum",
        "svhn",
        instead(MAT, lambda old: mat_of(array_of(2, 4, content=bytes(8)))[:-1] + b"x"),
        [MAT, "damaged (Error -3 while decompressing data: incorrect data check)"],
    ),
    (
        "no checksum",
        "svhn",
        instead(MAT, b"MATLAB".ljust(124) + b"\x00\x01IM" + struct.pack("<2I", 15, 12) + zlib.compress(b"")[:2] * 6),
        [MAT, "damaged (Error -3 while decompressing data"],
    ),
    ("no array", "svhn", instead(MAT, b"x" * 124 + b"\x00\x01IM" + bytes(16)), [MAT, "an element is of type 0"]),
    (
        "labels from 0",
        "stl10",
        instead("stl10_binary/test_y.bin", bytes(10)),
        ["test_y.bin", "the label 0, where classes are 1 to 10"],
    ),
    (
        "images cut",
        "stl10",
        instead("stl10_binary/test_X.bin", lambda old: old[:-1]),
        ["test_X.bin", "276479 bytes where 10 labels need as many images of 27648 bytes"],
    ),
    (
        "labels of megabytes",
        "stl10",
        instead("stl10_binary/test_y.bin", b"\x01" * 1_000_001),
        ["test_y.bin", "1000001 bytes are too many for labels"],
    ),
    ("no labels", "stl10", lambda root: (root / "stl10_binary/train_y.bin").unlink(), ["lacks train_y.bin"]),
    ("nothing", "stl10", instead("stl10_binary/test_y.bin", b""), ["test_X.bin", "bytes where 0 labels"]),
]


@pytest.mark.parametrize(("name", "damage", "words"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_damaged_files_are_named(name: str, damage: Callable[[Path], None], words: list[str], tmp_path: Path) -> None:
    SETS[name][0](tmp_path, **({} if name in ("svhn", "stl10") else {"zipped": False}))
    damage(tmp_path)
    refused_dataset(tmp_path, *words, name=name)


def test_a_checksum_that_is_missing_is_a_damage(tmp_path: Path) -> None:
    """The array is there in full, and what tells whether it is right is not."""
    write_svhn(tmp_path)
    whole = struct.pack("<2I", 14, 0) + array_of(2, 4, content=bytes(8))
    squeezed = zlib.compress(whole)[:-4]
    header = b"MATLAB".ljust(124) + b"\x00\x01IM"
    (tmp_path / MAT).write_bytes(header + struct.pack("<2I", 15, len(squeezed)) + squeezed)
    refused_dataset(tmp_path, MAT, "it ends before its checksum", name="svhn")


def test_a_small_file_that_unpacks_to_much_takes_no_memory(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    (tmp_path / MAT).write_bytes(mat_of(array_of(2, 4, content=bytes(8)) + bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more than an array"):
            load_dataset("svhn", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_a_file_of_a_machine_of_the_other_byte_order(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    images = np.arange(32 * 32 * 3 * 2).astype(np.uint8)

    def array(name: bytes, shape: tuple[int, ...], content: bytes) -> bytes:
        sizes = struct.pack(f">{len(shape)}i", *shape)
        matrix = struct.pack(">4I", 6, 8, 9, 0) + struct.pack(">2I", 5, len(sizes)) + sizes + bytes(-len(sizes) % 8)
        matrix += struct.pack(">2H4s", 1, 1, name) + struct.pack(">2I", 2, len(content)) + content
        matrix += bytes(-len(matrix) % 8)
        return struct.pack(">2I", 14, len(matrix)) + matrix

    content = array(b"X", (32, 32, 3, 2), images.tobytes()) + array(b"y", (2, 1), b"\x0a\x03")
    (tmp_path / MAT).write_bytes(b"MATLAB".ljust(124) + b"\x01\x00MI" + content)
    judge = scipy.io.loadmat(tmp_path / MAT)
    test = load_dataset("svhn", tmp_path).test
    assert np.array_equal(test.images, judge["X"].transpose(3, 0, 1, 2)) and test.labels.tolist() == [0, 3]


# Download


def md5_of(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def test_downloads_qmnist_in_both_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = write_qmnist(tmp_path / "server")
    with serving(server) as address:
        resources = {
            half: [
                (f"{address}{file.name}", md5_of(file))
                for ending in ("images-idx3-ubyte.gz", "labels-idx2-int.gz")
                for file in [server / f"qmnist-{half}-{ending}"]
            ]
            for half in ("train", "test")
        }
        monkeypatch.setattr(torchvision.datasets.QMNIST, "resources", resources)
        data = load_dataset("qmnist", tmp_path / "root", download=True)
    assert (len(data.train), len(data.test)) == (60, 20)


def test_downloads_emnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_emnist(tmp_path / "made")
    (tmp_path / "server").mkdir()
    files.rename(tmp_path / "made" / "gzip")
    archive = Path(shutil.make_archive(str(tmp_path / "server" / "gzip"), "zip", tmp_path / "made", "gzip"))
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", md5_of(archive))
    with serving(archive.parent) as address:
        monkeypatch.setattr(torchvision.datasets.EMNIST, "url", f"{address}gzip.zip")
        data = load_dataset("emnist", tmp_path / "root", download=True)
    assert (len(data.train), len(data.test), data.classes) == (94, 47, 47)


def test_downloads_what_svhn_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torchvision's own list, without the class that would need scipy."""
    server, root = write_svhn(tmp_path / "server"), write_svhn(tmp_path / "root", train=30)
    (root / MAT).unlink()
    with serving(server) as address:
        parts = {"train": ["http://127.0.0.1:9/", "train_32x32.mat", ""], "test": [f"{address}{MAT}", MAT, ""]}
        parts["test"][2] = md5_of(server / MAT)
        monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", parts)
        data = load_dataset("svhn", root, download=True)
    assert (len(data.train), len(data.test)) == (30, 20)


def test_downloads_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_stl10(tmp_path / "server", archive=True)
    stl10 = torchvision.datasets.STL10
    monkeypatch.setattr(stl10, "tgz_md5", md5_of(archive))
    monkeypatch.setattr(stl10, "train_list", [["train_X.bin", None], ["train_y.bin", None]])
    monkeypatch.setattr(stl10, "test_list", [["test_X.bin", None], ["test_y.bin", None]])
    with serving(archive.parent) as address:
        monkeypatch.setattr(stl10, "url", f"{address}{archive.name}")
        data = load_dataset("stl10", tmp_path / "root", download=True)
    assert (len(data.train), len(data.test)) == (20, 10)


# The command line


@pytest.mark.parametrize(("name", "test_images"), [("emnist", 47), ("svhn", 20), ("stl10", 10)])
def test_trains_on_it(name: str, test_images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SETS[name][0](tmp_path / "data")
    settings = {"data__dataset": name, "data__root": str(tmp_path / "data"), "training__batch_size": 8}
    outcome = train(*small(tmp_path / "run", **settings))
    assert (outcome.code, outcome.err) == (0, "")
    assert (last := metrics(tmp_path / "run")[-1])["test_images"] == test_images and 0 <= last["test_accuracy"] <= 1


@pytest.mark.parametrize("name", ["qmnist", "svhn"])
def test_the_command_says_what_is_damaged(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SETS[name][0](tmp_path / "data")
    file = max((tmp_path / "data").rglob("*test*"), key=lambda path: path.stat().st_size)
    content = file.read_bytes() if name == "svhn" else gzip.decompress(file.read_bytes())
    file.write_bytes(content[:-100] if name == "svhn" else gzip.compress(content[:-100]))
    settings = {"data__dataset": name, "data__root": str(tmp_path / "data"), "training__batch_size": 8}
    refused(train(*small(tmp_path / "run", **settings)), file.name, "damaged")
    assert not (tmp_path / "run").exists()
