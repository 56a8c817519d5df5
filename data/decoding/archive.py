"""Unpacking the .tar.gz that a data set is published as: the files that are wanted, and within bounds."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there, open_file, reason
from ttfs_cupy.common.shown import message_of

# bytes of a file that is taken out, four times the largest published one; of all that is unpacked; and of one read
LARGEST_FILE = 1 << 30
LARGEST_ARCHIVE = 8 << 30
LARGEST_READ = 1 << 24


def unpack(archive: Path, folder: Path, files: Sequence[str]) -> None:
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


def _extract(archive: Path, prefix: str, target: Path, files: Sequence[str]) -> None:
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
                        # as tar does; a time may be one that no file can have
                        with suppress(OSError, OverflowError, ValueError):
                            os.utime(target / file, (member.mtime, member.mtime))
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
