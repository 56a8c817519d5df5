"""MNIST and Fashion-MNIST: four idx files each, read by torchvision."""

from __future__ import annotations

import gzip
import math
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError

from .images import Raw
from .torchvision_access import downloading, one_line, torchvision

# Debian's package dataset-fashion-mnist
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_HINT = ", or install Debian's package dataset-fashion-mnist"

# the halves' prefixes, and how many dimensions the two kinds of files have
HALVES = ("train", "t10k")
DIMENSIONS = {"images-idx3-ubyte": 3, "labels-idx1-ubyte": 1}
FILES = tuple(f"{half}-{kind}" for half in HALVES for kind in DIMENSIONS)


@dataclass(frozen=True)
class _Family:
    """torchvision's class and folder name, and where else the gzipped files may lie."""

    folder: str
    elsewhere: Path | None = None
    hint: str = ""


def _family(name: str) -> _Family:
    """Looked up at each call, so that DEBIAN_FASHION_MNIST can be pointed elsewhere."""
    if name == "mnist":
        return _Family("MNIST")
    return _Family("FashionMNIST", DEBIAN_FASHION_MNIST, DEBIAN_HINT)


def read_mnist(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, 'mnist' or 'fmnist'.

    Looked for, in this order: torchvision's idx files under `root`; the same, gzipped; Debian's gzipped
    Fashion-MNIST; torchvision's download, if allowed. Raises UserError for missing or damaged files.
    """
    family = _family(name)
    folder = root / family.folder / "raw"
    if _holds(folder, FILES):
        return _read(family, root, folder)
    zipped = tuple(f"{file}.gz" for file in FILES)
    for place in (folder, family.elsewhere):
        if place is not None and _holds(place, zipped):
            with _unzipped(place, family) as unzipped_root:
                return _read(family, unzipped_root, place, suffix=".gz")
    if not download:
        raise UserError(
            f"the data set {name} is not in {folder}: set data.download: true, or put the files "
            f"{', '.join(FILES)} there, gzipped or not{family.hint}"
        )
    with downloading(name, root):
        getattr(torchvision("datasets"), family.folder)(str(root), download=True)
    return _read(family, root, folder)


def _holds(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() for file in files)


@contextmanager
def _unzipped(place: Path, family: _Family) -> Iterator[Path]:
    """A temporary root in torchvision's layout with the files of `place` unzipped: torchvision reads no .gz.

    `place` itself is left as it is: it may be read-only, as Debian's folder is.
    """
    with tempfile.TemporaryDirectory(prefix="ttfs-") as root:
        folder = Path(root) / family.folder / "raw"
        folder.mkdir(parents=True)
        for file in FILES:
            source = place / f"{file}.gz"
            try:
                (folder / file).write_bytes(gzip.decompress(source.read_bytes()))
            except (OSError, EOFError, zlib.error) as error:
                raise UserError(f"{source} cannot be unzipped ({one_line(error)}): fetch it again") from error
        yield Path(root)


def _read(family: _Family, root: Path, place: Path, suffix: str = "") -> tuple[Raw, Raw]:
    """Both halves from under `root`; messages name `place`, where the user's files lie, with this suffix."""
    for file in FILES:
        _check_idx(root / family.folder / "raw" / file, place / f"{file}{suffix}")
    reader = getattr(torchvision("datasets"), family.folder)
    train, test = (reader(str(root), train=half == "train") for half in HALVES)
    return _raw(train, place, "train"), _raw(test, place, "t10k")


def _raw(images: object, place: Path, half: str) -> Raw:
    """torchvision's data set object as arrays: uint8 (N, H, W, 1) and int64 (N,)."""
    data, targets = images.data.numpy(), images.targets.numpy()  # type: ignore[attr-defined]
    return Raw(data[..., None], targets, f"{place} ({half} files)")


def _check_idx(path: Path, shown: Path) -> None:
    """UserError, naming the file `shown`, unless the size of the idx file is what its header says.

    torchvision would fail too, but with a message about tensors that names no file.
    """
    dimensions = DIMENSIONS[path.name.split("-", 1)[1]]
    start = 4 * (1 + dimensions)
    try:
        with path.open("rb") as file:
            header = file.read(start)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({one_line(error)})") from error
    # idx: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension, big-endian
    if len(header) < start or header[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{shown} is not an idx file of bytes in {dimensions} dimension(s): fetch it again")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[0] == 0:
        raise UserError(f"{shown} is empty: its header counts 0 entries")
    if size != start + math.prod(shape):
        promised = start + math.prod(shape)
        raise UserError(f"{shown} is damaged, {size} bytes where its header says {promised}: fetch it again")
