"""CIFAR-10 and CIFAR-100 in their own python format, found where torchvision puts them."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, is_there, open_file, reason
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.decoding.cifar_pickle import REMEDY, Array, unpickled
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import downloading, torchvision

# a batch file's row: 3 colour planes of 32 x 32 pixels
PLANES = (3, 32, 32)
ROW = 3 * 32 * 32

# torchvision's class, the key of the labels in a batch file, the number of classes
READERS = {"cifar10": ("CIFAR10", "labels", 10), "cifar100": ("CIFAR100", "fine_labels", 100)}

# bytes of an archive's file, six times the largest published one; of all that is unpacked; and of one read
LARGEST_FILE = 1 << 30
LARGEST_ARCHIVE = 8 << 30
LARGEST_READ = 1 << 24


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
            _unpack(archive, folder, files)
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


def _unpack(archive: Path, folder: Path, files: tuple[str, ...]) -> None:
    """Unpack `files`, and nothing else that `archive` may hold, into `folder`.

    Into a temporary folder first, then renamed: an interrupted unpacking leaves no half of a data set behind.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as temporary:
            target = Path(temporary) / folder.name
            target.mkdir()
            _extract(archive, folder.name, target, files)
            if not is_there(folder):
                target.rename(folder)
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked into {folder.parent}: {reason(error)}") from error


def _extract(archive: Path, prefix: str, target: Path, files: tuple[str, ...]) -> None:
    """Copy the regular files `prefix`/file out of the archive: by these names, so none can lead elsewhere."""
    wanted = {f"{prefix}/{file}": file for file in files}
    with open_file(archive) as packed:
        try:
            with gzip.open(packed) as unzipped, tarfile.open(fileobj=_Bounded.around(unzipped), mode="r:") as tar:
                for member in tar:
                    file = wanted.get(member.name.removeprefix("./"))
                    content = tar.extractfile(member) if file and member.isfile() else None
                    if file and content:
                        _copy(content, member.size, target / file)
        except _NotWrittenError as error:
            raise error.reason from None
        # a damaged archive may raise nearly anything
        except Exception as error:
            raise UserError(f"{archive} cannot be unpacked ({message_of(error)}): fetch it again") from error
    missing = [file for file in files if not (target / file).exists()]
    if missing:
        raise UserError(f"{archive} does not hold {', '.join(missing)}: fetch it again")


class _NotWrittenError(Exception):
    """What was unpacked could not be written: the archive is not to blame."""

    def __init__(self, reason: OSError):
        super().__init__(str(reason))
        self.reason = reason


def _copy(content: Any, size: int, target: Path) -> None:
    if size > LARGEST_FILE:
        raise tarfile.ReadError(f"{target.name} is said to have {size} bytes, where {LARGEST_FILE} would be many")
    try:
        copy = target.open("wb")
    except OSError as error:
        raise _NotWrittenError(error) from None
    try:
        shutil.copyfileobj(content, cast(BinaryIO, _Target(copy)))
    finally:
        # what could not be written is tried again here, in vain, and would take the place of the first error
        with suppress(OSError):
            copy.close()


class _Target:
    """A file that tells its own errors from those of what is copied."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise _NotWrittenError(error) from None


class _Bounded:
    """A file of which tarfile reads no more, and goes no further, than image data need: a gzipped archive of a few
    bytes may go on for days."""

    def __init__(self, file: BinaryIO):
        self._file = file

    @classmethod
    def around(cls, file: Any) -> BinaryIO:
        return cast(BinaryIO, cls(file))

    def read(self, size: int) -> bytes:
        if size > LARGEST_READ:
            raise tarfile.ReadError(f"it has an entry's header of {size} bytes")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if position > LARGEST_ARCHIVE:
            raise tarfile.ReadError(f"it unpacks to more than {LARGEST_ARCHIVE} bytes")
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()
