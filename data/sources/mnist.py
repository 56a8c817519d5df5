"""MNIST and the sets that are published like it: four idx files each, gzipped or not."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, open_file, reason
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import downloading, torchvision

# Debian's package dataset-fashion-mnist
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_HINT = ", or install Debian's package dataset-fashion-mnist"

# the most that deflate makes of a byte
LARGEST_RATIO = 1032
PIECE = 1 << 20

# what a label says in QMNIST's files: the class, and seven numbers about who wrote the digit
QMNIST_COLUMNS = 8


@dataclass(frozen=True)
class _Kind:
    """What an idx file holds. ending: of its name; code: the type's in the header."""

    ending: str
    dimensions: int
    code: int = 8
    dtype: str = "u1"
    content: str = "bytes"


IMAGES = _Kind("images-idx3-ubyte", 3)
LABELS = _Kind("labels-idx1-ubyte", 1)
QMNIST_LABELS = _Kind("labels-idx2-int", 2, code=12, dtype=">i4", content="32-bit integers")


@dataclass(frozen=True)
class _Family:
    """A set's files, and how torchvision fetches them.

    folder: torchvision's name of the set's class and of its folder. halves: what the files' names begin with, training
    first. downloads: the arguments of each call that fetches a part. transposed: images lie in the files column by
    column.
    """

    folder: str
    halves: tuple[str, str] = ("train", "t10k")
    labels: _Kind = LABELS
    transposed: bool = False
    downloads: tuple[Mapping[str, Any], ...] = ({},)

    def files(self) -> tuple[str, ...]:
        return tuple(f"{half}-{kind.ending}" for half in self.halves for kind in (IMAGES, self.labels))


# EMNIST is published in six splits; `emnist` is the one of 47 classes with as many images of each.
FAMILIES = {
    "mnist": _Family("MNIST"),
    "fmnist": _Family("FashionMNIST"),
    "kmnist": _Family("KMNIST"),
    "emnist": _Family(
        "EMNIST",
        ("emnist-balanced-train", "emnist-balanced-test"),
        transposed=True,
        downloads=({"split": "balanced"},),
    ),
    "qmnist": _Family(
        "QMNIST",
        ("qmnist-train", "qmnist-test"),
        QMNIST_LABELS,
        downloads=({"what": "train"}, {"what": "test"}),
    ),
}


def read_mnist(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, one of FAMILIES: uint8 (N, H, W, 1), upright.

    Looked for, in this order: torchvision's idx files under `root`; the same, gzipped; Debian's gzipped
    Fashion-MNIST; torchvision's download, if allowed. Raises UserError for missing or damaged files.
    """
    family = FAMILIES[name]
    folder = root / family.folder / "raw"
    elsewhere, hint = (DEBIAN_FASHION_MNIST, DEBIAN_HINT) if name == "fmnist" else (None, "")
    for place, suffix in ((folder, ""), (folder, ".gz"), (elsewhere, ".gz")):
        if place is not None and all(is_file(place / f"{file}{suffix}") for file in family.files()):
            return _read(family, place, suffix)
    if not download:
        raise UserError(
            f"the data set {name} is not in {folder}: set data.download: true, or put the files "
            f"{', '.join(family.files())} there, gzipped or not{hint}"
        )
    with downloading(name, root):
        for arguments in family.downloads:
            getattr(torchvision("datasets"), family.folder)(str(root), download=True, **arguments)
    return _read(family, folder, "")


def _read(family: _Family, place: Path, suffix: str) -> tuple[Raw, Raw]:
    """Both halves, from files whose names end so."""
    train, test = (_half(family, place, half, suffix) for half in family.halves)
    return train, test


def _half(family: _Family, place: Path, half: str, suffix: str) -> Raw:
    labels_file = place / f"{half}-{family.labels.ending}{suffix}"
    images = _idx(place / f"{half}-{IMAGES.ending}{suffix}", IMAGES)
    labels = _idx(labels_file, family.labels)
    if labels.ndim == 2:
        if labels.shape[1] != QMNIST_COLUMNS:
            raise UserError(f"{labels_file} must hold {QMNIST_COLUMNS} numbers a label, not {labels.shape[1]}")
        labels = labels[:, 0].astype(np.int64)
    if family.transposed:
        images = images.transpose(0, 2, 1)
    return Raw(images[..., np.newaxis], labels, f"{place} ({half} files)")


def _idx(path: Path, kind: _Kind) -> NDArray[Any]:
    """The array in an idx file of that kind, gzipped if its name ends so. Raises UserError, naming the file.

    Nothing is read beyond what the header promises, and nothing at all where the file is too small for that: a few
    bytes may promise, or unpack to, more than there is memory.
    """
    zipped = path.suffix == ".gz"
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not zipped:
                return _content(file, path, kind, size, exact=True)
            with gzip.open(file) as unzipped:
                return _content(unzipped, path, kind, size * LARGEST_RATIO, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be unzipped ({message_of(error)}): fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error


def _content(file: BinaryIO | gzip.GzipFile, path: Path, kind: _Kind, most: int, *, exact: bool) -> NDArray[Any]:
    """most: bytes that the file may hold; exact: and does."""
    start = 4 * (1 + kind.dimensions)
    header = file.read(start)
    # idx: two zero bytes, the type, the number of dimensions, each dimension, big-endian
    if len(header) < start or header[:4] != bytes([0, 0, kind.code, kind.dimensions]):
        raise UserError(
            f"{path} is not an idx file of {kind.content} in {kind.dimensions} dimension(s): fetch it again"
        )
    shape = struct.unpack(f">{kind.dimensions}I", header[4:])
    if shape[0] == 0:
        raise UserError(f"{path} is empty: its header counts 0 entries")
    promised = start + math.prod(shape) * np.dtype(kind.dtype).itemsize
    if exact and promised != most:
        raise UserError(f"{path} is damaged, {most} bytes where its header says {promised}: fetch it again")
    if promised > most:
        raise UserError(f"{path} is damaged: it cannot hold the {promised} bytes that its header says: fetch it again")
    content = bytearray()
    while piece := file.read(min(PIECE, promised - start - len(content))):
        content += piece
    # to the end, where a checksum is
    more = file.read(1)
    if more or len(content) != promised - start:
        found = f"more than {promised}" if more else f"{start + len(content)}"
        raise UserError(f"{path} is damaged, {found} bytes where its header says {promised}: fetch it again")
    return np.frombuffer(content, kind.dtype).reshape(shape)
