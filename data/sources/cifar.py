"""CIFAR-10 and CIFAR-100 in their own python format, found where torchvision puts them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.decoding.cifar_pickle import REMEDY, Array, unpickled
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import fetch, find_archived

# a batch file's row: 3 colour planes of 32 x 32 pixels
PLANES = (3, 32, 32)
ROW = 3 * 32 * 32


@dataclass(frozen=True)
class _Published:
    """torchvision's class; the names of the folder, of the archive and of the files; keys within these.

    They are said here, and not asked of torchvision, which takes seconds to import.
    """

    reader: str
    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str
    names_key: str
    labels_key: str
    classes: int

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)


_PUBLISHED = {
    "cifar10": _Published(
        reader="CIFAR10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        names_key="label_names",
        labels_key="labels",
        classes=10,
    ),
    "cifar100": _Published(
        reader="CIFAR100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        train=("train",),
        test="test",
        meta="meta",
        names_key="fine_label_names",
        labels_key="fine_labels",
        classes=100,
    ),
}


def find_cifar(name: str, root: Path, download: bool) -> list[Path]:
    """The files of `name`, 'cifar10' or 'cifar100', as `find_archived` finds them. Raises UserError as it does."""
    published = _PUBLISHED[name]
    fetching = partial(fetch, name, root, published.reader) if download else None
    return find_archived(name, root / published.folder, published.archive, published.files, fetching)


def read_cifar(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, as `find_cifar` finds them. Raises UserError for damaged files, too."""
    published = _PUBLISHED[name]
    *train, test, meta = find_cifar(name, root, download)
    names = _class_names(meta, published)
    return (
        _half(train, published, f"{meta.parent} (training files)", names),
        _half([test], published, f"{meta.parent} (test file)", names),
    )


def _half(files: list[Path], published: _Published, where: str, names: tuple[str, ...]) -> Raw:
    batches = (_batch(file, published.labels_key, published.classes) for file in files)
    images, labels = zip(*batches, strict=True)
    return Raw(np.concatenate(images), np.concatenate(labels), where, names)


def _class_names(path: Path, published: _Published) -> tuple[str, ...]:
    """The list of class names that the file holds. Raises UserError if it does not."""
    key = published.names_key
    names = unpickled(path).get(key)
    if not isinstance(names, list):
        raise UserError(f"{path} must hold {key!r}, the list of class names: {REMEDY}")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise UserError(f"{path} holds {shown(wrong[0])} among {key!r}, where class names are text: {REMEDY}")
    if len(names) != published.classes:
        raise UserError(f"{path} holds {len(names)} class names, where there are {published.classes} classes: {REMEDY}")
    return tuple(names)


def _batch(path: Path, label_key: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A file's images, (N, 32, 32, 3), and labels, (N,). Raises UserError, naming the file."""
    content = unpickled(path)
    data, labels = content.get("data"), content.get(label_key)
    try:
        rows = data.rows(ROW) if isinstance(data, Array) else None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {message_of(error)}: {REMEDY}") from None
    if rows is None:
        found = data if isinstance(data, Array) else type(data).__name__
        raise UserError(f"{path} must hold 'data', uint8 (N, {ROW}) for 32x32 pixels in 3 colours, not {found}")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise UserError(f"{path} must hold {label_key!r}, a list of integers, not {type(labels).__name__}")
    if len(rows) == 0:
        raise UserError(f"{path} holds no images")
    if len(labels) != len(rows):
        raise UserError(f"{path} holds {len(rows)} images but {len(labels)} labels")
    wrong = [label for label in labels if not 0 <= label < classes]
    if wrong:
        raise UserError(f"{path} holds the label {shown(wrong[0])}, outside the {classes} classes 0..{classes - 1}")
    return rows.reshape(-1, *PLANES).transpose(0, 2, 3, 1), np.array(labels, np.int64)
