"""CIFAR-10 and CIFAR-100 in their own python format, read by torchvision."""

from __future__ import annotations

import pickle
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError

from .images import Raw
from .torchvision_access import downloading, one_line, torchvision

# a batch file's row: 3 colour planes of 32 x 32 pixels
ROW = 3 * 32 * 32

# torchvision's class, the key of the labels in a batch file, the number of classes
READERS = {"cifar10": ("CIFAR10", "labels", 10), "cifar100": ("CIFAR100", "fine_labels", 100)}

REMEDY = "delete it, and unpack the archive anew or set data.download: true"


def read_cifar(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, 'cifar10' or 'cifar100'.

    Looked for, in this order: torchvision's folder under `root`; the published archive's name there, which is
    unpacked; torchvision's download, if allowed. Raises UserError for missing or damaged files.
    """
    class_name, label_key, classes = READERS[name]
    published = getattr(torchvision("datasets"), class_name)
    folder, archive = root / published.base_folder, root / published.filename
    files = _files(published)
    if not folder.exists() and archive.is_file():
        try:
            _unpack(archive, folder, tuple(files))
        except UserError:
            # an interrupted download leaves half an archive: torchvision sees that and fetches it anew
            if not download:
                raise
    missing = [file for file in files if not (folder / file).is_file()]
    if missing and download:
        with downloading(name, root):
            published(str(root), download=True)
    elif missing:
        raise UserError(_absent(name, folder, archive, missing))
    is_published = torchvision("datasets.utils").check_integrity
    meta = published.meta
    for file, md5 in files.items():
        if is_published(str(folder / file), md5):
            continue
        if file == meta["filename"]:
            _check_meta(folder / file, meta["key"])
        else:
            _check_batch(folder / file, label_key, classes)
    reader = _without_md5(published)
    train, test = reader(str(root), train=True), reader(str(root), train=False)
    return _raw(train, f"{folder} (training files)"), _raw(test, f"{folder} (test file)")


def _files(published: Any) -> dict[str, str]:
    """Every file of the folder with the md5 of the published one."""
    meta = {published.meta["filename"]: published.meta["md5"]}
    return dict(published.train_list + published.test_list) | meta


def _absent(name: str, folder: Path, archive: Path, missing: list[str]) -> str:
    if folder.exists():
        return f"{folder} lacks {', '.join(missing)}: delete the folder and unpack {archive.name} anew"
    return (
        f"the data set {name} is not in {folder}: set data.download: true, or put {archive.name} into {folder.parent}"
    )


def _raw(images: Any, where: str) -> Raw:
    """torchvision's data set object as arrays: uint8 (N, 32, 32, 3) and integers (N,)."""
    return Raw(images.data, np.asarray(images.targets), where)


def _without_md5(published: Any) -> Any:
    """torchvision's class, its md5 sums replaced by None, which torchvision takes as 'the file exists'.

    So smaller sets in the same format can be read, a selection of classes or a test's. Nothing is lost: every
    file has been checked before, and more closely than by torchvision's 'not found or corrupted'.
    """
    loose = {
        "train_list": [[file, None] for file, _ in published.train_list],
        "test_list": [[file, None] for file, _ in published.test_list],
        "meta": published.meta | {"md5": None},
    }
    return type(published.__name__, (published,), loose)


def _check_meta(path: Path, key: str) -> None:
    """UserError unless the file holds the list of class names in which torchvision looks."""
    if not isinstance(_unpickled(path).get(key), list):
        raise UserError(f"{path} must hold {key!r}, the list of class names: {REMEDY}")


def _check_batch(path: Path, label_key: str, classes: int) -> None:
    """UserError, naming the file, unless it holds images and as many labels."""
    content = _unpickled(path)
    data, labels = content.get("data"), content.get(label_key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != ROW:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise UserError(f"{path} must hold 'data', uint8 (N, {ROW}) for 32x32 pixels in 3 colours, not {found}")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise UserError(f"{path} must hold {label_key!r}, a list of integers, not {type(labels).__name__}")
    if len(data) == 0:
        raise UserError(f"{path} holds no images")
    if len(labels) != len(data):
        raise UserError(f"{path} holds {len(data)} images but {len(labels)} labels")
    wrong = [label for label in labels if not 0 <= label < classes]
    if wrong:
        raise UserError(f"{path} holds the label {wrong[0]}, outside the {classes} classes 0..{classes - 1}")


class _ArraysOnly(pickle.Unpickler):
    """Loads arrays, numbers, strings, lists and dictionaries, nothing else.

    A pickle can run any code, and torchvision's reader would let it. A file with the published md5 is known;
    every other one must first load here.
    """

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            # how Python 3 writes bytes for Python 2
            ("_codecs", "encode"),
            ("__builtin__", "bytes"),
            # numpy 1's and numpy 2's names of the same two functions
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which image data never needs")
        return super().find_class(module, name)


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    # a damaged pickle may raise nearly anything
    except Exception as error:
        raise UserError(f"{path} is damaged, or no CIFAR file ({one_line(error)}): {REMEDY}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no CIFAR file: it holds a {type(content).__name__}, not a dictionary")
    return content


def _unpack(archive: Path, folder: Path, files: tuple[str, ...]) -> None:
    """Unpack `files`, and nothing else that `archive` may hold, into `folder`.

    Into a temporary folder first, then renamed: an interrupted unpacking leaves no half of a data set behind.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as temporary:
            target = Path(temporary) / folder.name
            target.mkdir()
            _extract(archive, folder.name, target, files)
            target.rename(folder)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{archive} cannot be unpacked ({one_line(error)}): fetch it again") from error


def _extract(archive: Path, prefix: str, target: Path, files: tuple[str, ...]) -> None:
    """Copy the regular files `prefix`/file out of the archive: by these names, so none can lead elsewhere."""
    wanted = {f"{prefix}/{file}": file for file in files}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            file = wanted.get(member.name.removeprefix("./"))
            content = tar.extractfile(member) if file and member.isfile() else None
            if file and content:
                with (target / file).open("wb") as copy:
                    shutil.copyfileobj(content, copy)
    missing = [file for file in files if not (target / file).exists()]
    if missing:
        raise UserError(f"{archive} does not hold {', '.join(missing)}: fetch it again")
