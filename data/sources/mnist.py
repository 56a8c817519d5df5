"""MNIST and Fashion-MNIST: four idx files each, gzipped or not."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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

DIGITS = tuple("0123456789")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# the halves' prefixes, and how many dimensions the two kinds of files have
HALVES = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
DIMENSIONS = {IMAGES: 3, LABELS: 1}
FILES = tuple(f"{half}-{kind}" for half in HALVES for kind in DIMENSIONS)

# the most that deflate makes of a byte
LARGEST_RATIO = 1032
PIECE = 1 << 20


@dataclass(frozen=True)
class _Family:
    """torchvision's class and folder name, and where else the gzipped files may lie."""

    folder: str
    class_names: tuple[str, ...]
    elsewhere: Path | None = None
    hint: str = ""


def _family(name: str) -> _Family:
    """Looked up at each call, so that DEBIAN_FASHION_MNIST can be pointed elsewhere."""
    if name == "mnist":
        return _Family("MNIST", DIGITS)
    return _Family("FashionMNIST", CLOTHES, DEBIAN_FASHION_MNIST, DEBIAN_HINT)


def find_mnist(name: str, root: Path, download: bool) -> list[Path]:
    """The four files of `name`, 'mnist' or 'fmnist', in the order of `FILES`.

    Looked for, in this order: torchvision's idx files under `root`; the same, gzipped; Debian's gzipped
    Fashion-MNIST; torchvision's download, if allowed. Raises UserError for missing files.
    """
    family = _family(name)
    folder = root / family.folder / "raw"
    for place, suffix in ((folder, ""), (folder, ".gz"), (family.elsewhere, ".gz")):
        if place is not None and all(is_file(place / f"{file}{suffix}") for file in FILES):
            return [place / f"{file}{suffix}" for file in FILES]
    if not download:
        raise UserError(
            f"the data set {name} is not in {folder}: set data.download: true, or put the files "
            f"{', '.join(FILES)} there, gzipped or not{family.hint}"
        )
    with downloading(name, root):
        getattr(torchvision("datasets"), family.folder)(str(root), download=True)
    return [folder / file for file in FILES]


def read_mnist(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, as `find_mnist` finds them. Raises UserError for damaged files, too."""
    names = _family(name).class_names
    files = find_mnist(name, root, download)
    train, test = (_half(half, files[at : at + 2], names) for half, at in zip(HALVES, (0, 2), strict=True))
    return train, test


def _half(half: str, files: list[Path], names: tuple[str, ...]) -> Raw:
    images, labels = (_idx(file, dimensions) for file, dimensions in zip(files, DIMENSIONS.values(), strict=True))
    return Raw(images[..., np.newaxis], labels, f"{files[0].parent} ({half} files)", names)


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of bytes, gzipped if its name ends so. Raises UserError, naming the file.

    Nothing is read beyond what the header promises, and nothing at all where the file is too small for that: a few
    bytes may promise, or unpack to, more than there is memory.
    """
    zipped = path.suffix == ".gz"
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not zipped:
                return _content(file, path, dimensions, size, exact=True)
            with gzip.open(file) as unzipped:
                return _content(unzipped, path, dimensions, size * LARGEST_RATIO, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be unzipped ({message_of(error)}): fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error


def _content(
    file: BinaryIO | gzip.GzipFile, path: Path, dimensions: int, most: int, *, exact: bool
) -> NDArray[np.uint8]:
    """most: bytes that the file may hold; exact: and does."""
    start = 4 * (1 + dimensions)
    header = file.read(start)
    # idx: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension, big-endian
    if len(header) < start or header[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{path} is not an idx file of bytes in {dimensions} dimension(s): fetch it again")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[0] == 0:
        raise UserError(f"{path} is empty: its header counts 0 entries")
    promised = start + math.prod(shape)
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
    return np.frombuffer(content, np.uint8).reshape(shape)
