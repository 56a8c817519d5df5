"""What is said where data cannot be read: situation and whole sentence. {root} stands for the folder of the data."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.datasets_on_disk import cifar_rows, dump, pack, write_cifar10, write_mnist
from helpers.privileges import open_folder, without_privileges

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import load_dataset, split
from ttfs_cupy.data.decoding import archive as archives

MNIST = "{root}/MNIST/raw"
CIFAR = "{root}/cifar-10-batches-py"
ARCHIVE = "{root}/cifar-10-python.tar.gz"
REMEDY = "delete it, and unpack the archive anew or set data.download: true"


def header(*shape: int) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)


def idx_file(content: bytes, zipped: bool = False, name: str = "train-images-idx3-ubyte") -> Callable[[Path], str]:
    """A set with another file of images."""

    def write(root: Path) -> str:
        folder = write_mnist(root, zipped=zipped)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content, 1) if zipped else content)
        return "mnist"

    return write


def in_place_of(path: str, make: Callable[[Path], Any], write: Callable[..., Any] = write_cifar10, **how: Any) -> Any:
    """Something else where one of the files should be."""

    def prepare(root: Path) -> str:
        write(root, **how)
        file = Path(path.format(root=root))
        file.unlink()
        make(file)
        return "mnist" if write is write_mnist else "cifar10"

    return prepare


def loop(file: Path) -> None:
    file.symlink_to(file.name)


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def cifar_file(content: Any, name: str = "test_batch") -> Callable[[Path], str]:
    """A set with another file; bytes: as they are."""

    def write(root: Path) -> str:
        file = write_cifar10(root) / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            dump(file, content)
        return "cifar10"

    return write


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None):
        self.made = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.made


def member(size: int, kind: bytes = tarfile.REGTYPE, content: bytes = b"", name: str = "test_batch") -> Any:
    """An archive whose one entry says that it has so many bytes."""

    def write(root: Path) -> str:
        entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
        entry.size, entry.type = size, kind
        packed = gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + content, 1)
        (root / "cifar-10-python.tar.gz").write_bytes(packed)
        return "cifar10"

    return write


def archive_that_lacks(name: str) -> Callable[[Path], str]:
    def write(root: Path) -> str:
        folder = write_cifar10(root)
        (folder / name).unlink()
        pack(folder, root / "cifar-10-python.tar.gz")
        return "cifar10"

    return write


IMAGES = np.zeros((3, 3072), np.uint8)
# without its list's flag, an array of objects would take the raw bytes for addresses
ADDRESSES = Calls(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
FILE = f"{MNIST}/train-images-idx3-ubyte"

SENTENCES: list[tuple[str, Callable[[Path], str], str]] = [
    (
        "no idx set",
        lambda root: "mnist",
        f"the data set mnist is not in {MNIST}: set data.download: true, or put the files train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte there, gzipped or not",
    ),
    (
        "no idx file",
        idx_file(b"<html>"),
        f"{FILE} is not an idx file of bytes in 3 dimension(s): fetch it again",
    ),
    ("no images", idx_file(header(0, 28, 28)), f"{FILE} is empty: its header counts 0 entries"),
    (
        "cut",
        idx_file(header(60, 28, 28) + bytes(100)),
        f"{FILE} is damaged, 116 bytes where its header says 47056: fetch it again",
    ),
    (
        "petabytes promised",
        idx_file(header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100)),
        f"{FILE} is damaged, 116 bytes where its header says {16 + (2**32 - 1) ** 3}: fetch it again",
    ),
    (
        "gigabytes promised by a small gzip",
        idx_file(header(10**7, 28, 28) + bytes(100), zipped=True),
        f"{FILE}.gz is damaged: it cannot hold the 7840000016 bytes that its header says: fetch it again",
    ),
    (
        "less in a gzip than promised",
        idx_file(header(60, 28, 28) + bytes(99 * 28 * 28), zipped=True),
        f"{FILE}.gz is damaged, more than 47056 bytes where its header says 47056: fetch it again",
    ),
    (
        "no gzip",
        in_place_of(f"{FILE}.gz", lambda file: file.write_bytes(b"<html>"), write_mnist),
        f"{FILE}.gz cannot be unzipped (Not a gzipped file (b'<h')): fetch it again",
    ),
    (
        "images of another size",
        idx_file(header(60, 28, 27) + bytes(60 * 28 * 27)),
        f"{MNIST} (train files) holds images of (height, width, channels) (28, 27, 1), not (28, 28, 1)",
    ),
    ("a pipe", in_place_of(FILE, os.mkfifo, write_mnist, zipped=False), f"{FILE} is a pipe, not a file"),
    ("a device", in_place_of(FILE, device, write_mnist, zipped=False), f"{FILE} is a device, not a file"),
    (
        "links in a circle",
        in_place_of(FILE, loop, write_mnist, zipped=False),
        f"{FILE} is out of reach: its symbolic links lead in a circle",
    ),
    (
        "no CIFAR set",
        lambda root: "cifar10",
        f"the data set cifar10 is not in {CIFAR}: set data.download: true, or put cifar-10-python.tar.gz into {{root}}",
    ),
    (
        "a directory",
        in_place_of(f"{CIFAR}/test_batch", Path.mkdir),
        f"{CIFAR} lacks test_batch: delete the folder and unpack cifar-10-python.tar.gz anew",
    ),
    ("a pipe in CIFAR", in_place_of(f"{CIFAR}/test_batch", os.mkfifo), f"{CIFAR}/test_batch is a pipe, not a file"),
    (
        "a pipe as archive",
        lambda root: os.mkfifo(root / "cifar-10-python.tar.gz") or "cifar10",
        f"{ARCHIVE} is a pipe, not a file",
    ),
    (
        "cut pickle",
        cifar_file(pickle.dumps({"data": IMAGES}, protocol=4)[:-50]),
        f"{CIFAR}/test_batch is damaged, or no CIFAR file (expected 9216 bytes in a bytes4, but only 9172 remain): "
        f"{REMEDY}",
    ),
    (
        "class names that are no text",
        cifar_file({"label_names": ["a", ["b"]]}, "batches.meta"),
        f"{CIFAR}/batches.meta holds ['b'] among 'label_names', where class names are text: {REMEDY}",
    ),
    (
        "a label of thousands of digits",
        cifar_file({"data": IMAGES, "labels": [0, 1, 10**5000]}),
        f"{CIFAR}/test_batch holds the label a number of more than 100 digits, outside the 10 classes 0..9",
    ),
    (
        "memory for many objects",
        cifar_file(b"\x80\x02}r" + struct.pack("<I", 2**30) + b"."),
        f"{CIFAR}/test_batch is damaged, or no CIFAR file (it numbers an object 1073741824): {REMEDY}",
    ),
    (
        "bytes of a size",
        cifar_file({"data": Calls(bytes, 10**13), "labels": []}),
        f"{CIFAR}/test_batch is damaged, or no CIFAR file (it makes bytes of a size): {REMEDY}",
    ),
    (
        "an array of a size",
        cifar_file({"data": Calls(np._core.multiarray._reconstruct, np.ndarray, (10**13,), b"b"), "labels": []}),
        f"{CIFAR}/test_batch must hold 'data', uint8 (N, 3072) for 32x32 pixels in 3 colours, not no type of no shape",
    ),
    (
        "an array of addresses",
        cifar_file(
            {
                "data": Calls(
                    np._core.multiarray._reconstruct,
                    *(np.ndarray, (0,), b"b"),
                    state=(1, (1, 3072), ADDRESSES, False, b"\x01" * 8 * 3072),
                ),
                "labels": [0],
            }
        ),
        f"{CIFAR}/test_batch must hold 'data', uint8 (N, 3072) for 32x32 pixels in 3 colours, not 'O8' (1, 3072)",
    ),
    (
        "an array without its bytes",
        cifar_file(
            {
                "data": Calls(
                    np._core.multiarray._reconstruct,
                    *(np.ndarray, (0,), b"b"),
                    state=(1, (10**9, 3072), np.dtype("u1"), False, b"\x01" * 8),
                ),
                "labels": [0],
            }
        ),
        f"{CIFAR}/test_batch is damaged: its array uint8 (1000000000, 3072) has other bytes than these: {REMEDY}",
    ),
    (
        "tuples in tuples",
        cifar_file(b"\x80\x02})" + b"\x85" * 100_000 + b"K\x00s."),
        f"{CIFAR}/test_batch is damaged, or no CIFAR file (it holds more than 500 tuples): {REMEDY}",
    ),
    (
        "an archive that lacks a file",
        archive_that_lacks("data_batch_4"),
        f"{ARCHIVE} does not hold data_batch_4: fetch it again",
    ),
    (
        "an entry without its bytes",
        member(1 << 20, content=bytes(1 << 10)),
        f"{ARCHIVE} cannot be unpacked (unexpected end of data): fetch it again",
    ),
    (
        "an entry of terabytes",
        member(1 << 40, content=bytes(1 << 20)),
        f"{ARCHIVE} cannot be unpacked (test_batch is said to have 1099511627776 bytes, where 1073741824 would be "
        "many): fetch it again",
    ),
    (
        "another entry of terabytes",
        member(1 << 40, content=bytes(1 << 20), name="other"),
        f"{ARCHIVE} cannot be unpacked (it unpacks to more than 8589934592 bytes): fetch it again",
    ),
    (
        "a header of terabytes",
        member(1 << 40, tarfile.XHDTYPE, bytes(1 << 20)),
        f"{ARCHIVE} cannot be unpacked (it has an entry's header of 1099511627776 bytes): fetch it again",
    ),
]


@pytest.mark.parametrize(("prepare", "sentence"), [row[1:] for row in SENTENCES], ids=[row[0] for row in SENTENCES])
def test_sentences(prepare: Callable[[Path], str], sentence: str, tmp_path: Path) -> None:
    name = prepare(tmp_path)
    with pytest.raises(UserError) as caught:
        load_dataset(name, tmp_path)
    assert str(caught.value) == sentence.format(root=tmp_path)


def test_a_small_gzip_that_unpacks_to_much_is_read_as_far_as_its_header_says(tmp_path: Path) -> None:
    name = idx_file(header(60, 28, 28) + bytes(1 << 26), zipped=True)(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more than 47056 bytes where its header says 47056"):
            load_dataset(name, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_an_array_in_fortrans_order(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    before = load_dataset("cifar10", tmp_path)
    rows = cifar_rows(before.test.images)
    dump(folder / "test_batch", {"data": np.asfortranarray(rows), "labels": before.test.labels.tolist()})
    assert np.array_equal(load_dataset("cifar10", tmp_path).test.images, before.test.images)


def test_as_python_2_wrote_it(tmp_path: Path) -> None:
    """The published files: short and long strings of bytes."""
    folder = write_cifar10(tmp_path)
    rows = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nq\x02K\x00\x85U\x01btR"
    state = (
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    )
    state += b"K\x00tb\x89T" + struct.pack("<I", rows.size) + rows.tobytes() + b"tb"
    content = b"\x80\x02}q\x00(U\x04data" + array + state + b"U\x06labels](K\x03K\x04eu."
    assert np.array_equal(pickle.loads(content, encoding="latin1")["data"], rows)
    (folder / "test_batch").write_bytes(content)
    test = load_dataset("cifar10", tmp_path).test
    assert np.array_equal(cifar_rows(test.images), rows) and test.labels.tolist() == [3, 4]


# What the data are not to blame for


@pytest.mark.parametrize("zipped", [False, True])
def test_files_that_may_not_be_read(zipped: bool) -> None:
    with open_folder() as root:
        file = write_mnist(root, zipped=zipped) / f"t10k-labels-idx1-ubyte{'.gz' if zipped else ''}"
        file.chmod(0)
        with without_privileges(), pytest.raises(UserError) as caught:
            load_dataset("mnist", root)
        assert str(caught.value) == f"{file} cannot be read: Permission denied"
        file.parent.chmod(0)
        with without_privileges(), pytest.raises(UserError) as caught:
            load_dataset("mnist", root)
        first = file.parent / "train-images-idx3-ubyte"
        assert str(caught.value) == f"{first} is out of reach: Permission denied"


def test_an_archive_in_a_folder_that_may_not_be_written() -> None:
    with open_folder() as root:
        archive = write_cifar10(root, archive=True)
        with without_privileges(), pytest.raises(UserError) as caught:
            load_dataset("cifar10", root)
        assert str(caught.value) == f"{archive} cannot be unpacked into {root}: Permission denied"


class Full(io.BytesIO):
    def write(self, content: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("is_real", [False, True])
def test_a_full_disk_while_an_archive_is_unpacked(
    is_real: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that is small, what could not be written is tried once more as it is closed, and that was held for a
    damage of the archive."""
    archive, real = write_cifar10(tmp_path, archive=True), Path.open

    def opened(self: Path, mode: str = "r", **_: Any) -> Any:
        if mode != "wb":
            return real(self, mode)
        return real(Path("/dev/full"), mode) if is_real else Full()

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(UserError) as caught:
        load_dataset("cifar10", tmp_path)
    assert str(caught.value) == f"{archive} cannot be unpacked into {tmp_path}: No space left on device"
    assert list(tmp_path.iterdir()) == [archive]


def test_two_may_unpack_the_same_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_cifar10(tmp_path, archive=True)
    real = archives._extract

    def slower(*arguments: Any) -> None:
        monkeypatch.setattr(archives, "_extract", real)
        load_dataset("cifar10", tmp_path)
        real(*arguments)

    monkeypatch.setattr(archives, "_extract", slower)
    assert len(load_dataset("cifar10", tmp_path).train) == 60
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "cifar-10-batches-py"}


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("~nosuchuser/x", "data.root '~nosuchuser/x' has no meaning here: Could not determine home directory."),
        ("a\0b", "data.root 'a\\x00b' holds a NUL character, which no path may"),
        ("\ud800", "data.root '\\ud800' is no text in utf-8, which paths are written in here"),
        ("x" * 256, "{root}/MNIST/raw/train-images-idx3-ubyte is out of reach: File name too long"),
    ],
)
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_roots_that_can_be_none(root: str, sentence: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(name, Path(root))
    folder = "MNIST/raw/train-images-idx3-ubyte" if name == "mnist" else "cifar-10-batches-py"
    assert str(caught.value) == sentence.format(root=root).replace("MNIST/raw/train-images-idx3-ubyte", folder)


@pytest.mark.parametrize(
    ("count", "share", "sentence"),
    [
        (
            10,
            0.01,
            "a validation share of 0.01 of 10 images is none at all: it must be at least 0.1, which is one image",
        ),
        (10, 0.99, "a validation share of 0.99 of 10 images leaves none for training: lower it"),
        (0, 0.5, "there are no images to divide into training and validation"),
    ],
)
def test_shares(count: int, share: float, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        split(np.zeros(count, np.int32), share, 0)
    assert str(caught.value) == sentence


def test_data_that_do_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> None:
        raise MemoryError("Unable to allocate 2. TiB")

    monkeypatch.setattr("ttfs_cupy.data.sources.datasets.checked", too_much)
    write_mnist(tmp_path)
    with pytest.raises(UserError) as caught:
        load_dataset("mnist", tmp_path)
    assert str(caught.value) == (
        f"the data set mnist under {tmp_path} does not fit into memory (Unable to allocate 2. TiB)"
    )
