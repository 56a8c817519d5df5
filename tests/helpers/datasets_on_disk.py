"""Writes tiny data sets in the formats of the real ones, for tests that must not download.

Labels count 0, 1, 2, ... round the classes. Images are noise around a pattern of their class, so that a
network can learn them.
"""

from __future__ import annotations

import gzip
import math
import os
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MNIST_FOLDERS = {"mnist": "MNIST", "fmnist": "FashionMNIST", "kmnist": "KMNIST"}


def separable(
    count: int, shape: tuple[int, int, int], classes: int, seed: int = 0, noise: int = 20
) -> tuple[Images, Labels]:
    """`count` images uint8 (count, H, W, C), and their labels int64 (count,).

    A class's pattern is the same for every seed, so that halves made with two seeds are of one kind.
    """
    patterns = np.random.default_rng(2023).integers(0, 2, (classes, *shape)) * 180 + 30
    labels = np.arange(count) % classes
    shifts = np.random.default_rng(seed).integers(-noise, noise + 1, (count, *shape))
    return (patterns[labels] + shifts).astype(np.uint8), labels


def idx(array: NDArray[Any]) -> bytes:
    """An array of bytes in MNIST's idx format."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, half: str, images: Images, labels: Labels, zipped: bool = True) -> None:
    """The two files of `half`, 'train' or 't10k': images (N, H, W), labels (N,)."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        if zipped:
            (folder / f"{half}-{kind}.gz").write_bytes(gzip.compress(idx(array), compresslevel=1))
        else:
            (folder / f"{half}-{kind}").write_bytes(idx(array))


def write_mnist(root: Path, name: str = "mnist", train: int = 60, test: int = 20, zipped: bool = True) -> Path:
    """A small 'mnist' or 'fmnist' under `root`, in torchvision's layout; the folder of its files."""
    folder = root / MNIST_FOLDERS[name] / "raw"
    for half, count, seed in (("train", train, 0), ("t10k", test, 1)):
        images, labels = separable(count, (28, 28, 1), 10, seed)
        write_idx(folder, half, images[..., 0], labels, zipped)
    return folder


def write_emnist(root: Path, train: int = 94, test: int = 47, zipped: bool = True) -> Path:
    """A small 'emnist', whose files hold each image column by column; the folder of its files."""
    folder = root / "EMNIST" / "raw"
    for half, count, seed in (("train", train, 0), ("test", test, 1)):
        images, labels = separable(count, (28, 28, 1), 47, seed)
        write_idx(folder, f"emnist-balanced-{half}", images[..., 0].transpose(0, 2, 1), labels, zipped)
    return folder


def write_qmnist(root: Path, train: int = 60, test: int = 20, zipped: bool = True) -> Path:
    """A small 'qmnist', of whose labels the first of 8 columns is the class; the folder of its files."""
    folder = root / "QMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for half, count, seed in (("train", train, 0), ("test", test, 1)):
        images, labels = separable(count, (28, 28, 1), 10, seed)
        columns = np.arange(8 * count).reshape(count, 8) + 70_000
        columns[:, 0] = labels
        files = {
            "images-idx3-ubyte": idx(images[..., 0]),
            "labels-idx2-int": struct.pack(">4B2I", 0, 0, 12, 2, count, 8) + columns.astype(">i4").tobytes(),
        }
        for ending, content in files.items():
            path = folder / f"qmnist-{half}-{ending}"
            if zipped:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
            else:
                path.write_bytes(content)
    return folder


def write_svhn(root: Path, train: int = 60, test: int = 20, zipped: bool = True) -> Path:
    """A small 'svhn': the files are MATLAB's, as scipy writes them, and label the digit 0 with 10; their folder."""
    root.mkdir(parents=True, exist_ok=True)
    for half, count, seed in (("train", train, 0), ("test", test, 1)):
        images, labels = separable(count, (32, 32, 3), 10, seed)
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)
        content = {"X": images.transpose(1, 2, 3, 0), "y": digits[:, np.newaxis]}
        scipy.io.savemat(root / f"{half}_32x32.mat", content, do_compression=zipped)
    return root


def write_stl10(root: Path, train: int = 20, test: int = 10, archive: bool = False) -> Path:
    """A small 'stl10': planes of columns, labels from 1; its folder, or the .tar.gz in its place."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for half, count, seed in (("train", train, 0), ("test", test, 1)):
        images, labels = separable(count, (96, 96, 3), 10, seed)
        (folder / f"{half}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{half}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    return pack(folder, root / "stl10_binary.tar.gz") if archive else folder


EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])


def recording(label: int, seed: int, side: int = 8, count: int = 60) -> NDArray[Any]:
    """Events (count,) of which a class's are where no other's are, and one in each corner."""
    rng = np.random.default_rng([seed, label])
    events = np.zeros(count, EVENT)
    events["x"], events["y"] = rng.integers(0, side, count), (2 * label + rng.integers(0, 2, count)) % side
    events["t"] = 1_000_000 + np.sort(rng.integers(0, 100_000, count))
    events["p"] = rng.integers(0, 2, count)
    events["x"][:2], events["y"][:2] = [0, side - 1], [0, side - 1]
    return events


def npz_columns(events: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: events[name] for name in EVENT.names or ()}


def write_recording(path: Path, events: NDArray[Any]) -> None:
    """In the format that the name's ending says. Of .bin, times count from the first event."""
    if path.suffix == ".npy":
        np.save(path, events)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **npz_columns(events))
    elif path.suffix == ".bin":
        times = events["t"] - events["t"].min()
        columns = [events["x"], events["y"], events["p"] << 7 | times >> 16, times >> 8 & 255, times & 255]
        path.write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())
    else:
        addresses = events["x"].astype(np.int64) << 8 | events["y"] << 1 | events["p"]
        content = np.stack([addresses, events["t"]], 1).astype(">u4").tobytes()
        path.write_bytes(b"#!AER-DAT2.0\r\n# events of a DVS128\r\n" + content)


def write_events(root: Path, train: int = 40, test: int = 12, ending: str = ".npy", classes: int = 3) -> Path:
    """A small 'events': recordings of 8x8 pixels in folders of their classes; the root."""
    for half, count in (("train", train), ("test", test)):
        for number in range(count):
            label = number % classes
            folder = root / half / f"class {label}"
            folder.mkdir(parents=True, exist_ok=True)
            write_recording(folder / f"{number:04}{ending}", recording(label, number + (half == "test") * 1000))
    return root


def write_images(folder: Path, images: Mapping[str, Images], **options: Any) -> None:
    """Each (H, W) or (H, W, 3) under its name below `folder`, whose ending says the format; options: of Pillow's."""
    for name, pixels in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)


def aged(folder: Path) -> None:
    """As if `folder` and all in it had not been written just now: only of such files a decoded copy is kept."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)


def cifar_rows(images: Images) -> Images:
    """(N, 32, 32, 3) as CIFAR stores it: (N, 3072), plane after plane."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), math.prod(images.shape[1:])))


def dump(path: Path, content: Any) -> None:
    """Protocol 2, the oldest that keeps arrays compact, as in the published files."""
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_cifar10(root: Path, train: int = 60, test: int = 20, archive: bool = False) -> Path:
    """A small CIFAR-10 under `root`, in five training batches; its folder, or the .tar.gz in its place."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = separable(train, (32, 32, 3), 10, seed=0)
    parts = zip(np.array_split(images, 5), np.array_split(labels, 5), strict=True)
    for number, (part, part_labels) in enumerate(parts, start=1):
        dump(folder / f"data_batch_{number}", {"data": cifar_rows(part), "labels": part_labels.tolist()})
    images, labels = separable(test, (32, 32, 3), 10, seed=1)
    dump(folder / "test_batch", {"data": cifar_rows(images), "labels": labels.tolist()})
    dump(folder / "batches.meta", {"label_names": [f"class {label}" for label in range(10)]})
    return pack(folder, root / "cifar-10-python.tar.gz") if archive else folder


def write_cifar100(root: Path, train: int = 200, test: int = 100, archive: bool = False) -> Path:
    """A small CIFAR-100 under `root`; its folder, or the .tar.gz in its place."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for file, count, seed in (("train", train, 0), ("test", test, 1)):
        images, labels = separable(count, (32, 32, 3), 100, seed)
        coarse = (labels // 5).tolist()
        dump(
            folder / file,
            {"data": cifar_rows(images), "fine_labels": labels.tolist(), "coarse_labels": coarse},
        )
    dump(folder / "meta", {"fine_label_names": [f"class {label}" for label in range(100)]})
    return pack(folder, root / "cifar-100-python.tar.gz") if archive else folder


def pack(folder: Path, archive: Path) -> Path:
    """Move `folder` into the .tar.gz `archive`."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return archive


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing of its requests."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serves the files of `folder` to this machine; yields the address that their names are appended to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
