"""CIFAR-10 and CIFAR-100 in their own python format, found where torchvision puts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, is_there
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.sources.archive import unpack
from ttfs_cupy.data.sources.cifar_pickle import REMEDY, Array, unpickled
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import downloading, torchvision

# a batch file's row: 3 colour planes of 32 x 32 pixels
PLANES = (3, 32, 32)
ROW = 3 * 32 * 32

# torchvision's class, the key of the labels in a batch file, the number of classes
READERS = {"cifar10": ("CIFAR10", "labels", 10), "cifar100": ("CIFAR100", "fine_labels", 100)}


def read_cifar(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, 'cifar10' or 'cifar100'.

    Looked for, in this order: torchvision's folder under `root`; the published archive's name there, which is
    unpacked; torchvision's download, if allowed. Raises UserError for missing or damaged files.
    """
    class_name, label_key, classes = READERS[name]
    published = getattr(torchvision("datasets"), class_name)
    folder, archive = root / published.base_folder, root / published.filename
    meta, key = published.meta["filename"], published.meta["key"]
    train, test = ([file for file, _ in files] for files in (published.train_list, published.test_list))
    files = (*train, *test, meta)
    if not is_there(folder) and is_file(archive):
        try:
            unpack(archive, folder, files)
        except UserError:
            # an interrupted download leaves half an archive: torchvision sees that and fetches it anew
            if not download:
                raise
    missing = [file for file in files if not is_file(folder / file)]
    if missing and download:
        with downloading(name, root):
            published(str(root), download=True)
    elif missing:
        raise UserError(_absent(name, folder, archive, missing))
    _check_meta(folder / meta, key)
    return (
        _half([folder / file for file in train], label_key, classes, f"{folder} (training files)"),
        _half([folder / file for file in test], label_key, classes, f"{folder} (test file)"),
    )


def _half(files: list[Path], label_key: str, classes: int, where: str) -> Raw:
    images, labels = zip(*(_batch(file, label_key, classes) for file in files), strict=True)
    return Raw(np.concatenate(images), np.concatenate(labels), where)


def _absent(name: str, folder: Path, archive: Path, missing: list[str]) -> str:
    if is_there(folder):
        return f"{folder} lacks {', '.join(missing)}: delete the folder and unpack {archive.name} anew"
    return (
        f"the data set {name} is not in {folder}: set data.download: true, or put {archive.name} into {folder.parent}"
    )


def _check_meta(path: Path, key: str) -> None:
    """UserError unless the file holds the list of class names."""
    names = unpickled(path).get(key)
    if not isinstance(names, list):
        raise UserError(f"{path} must hold {key!r}, the list of class names: {REMEDY}")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise UserError(f"{path} holds {shown(wrong[0])} among {key!r}, where class names are text: {REMEDY}")


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
