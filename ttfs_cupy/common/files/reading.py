"""Opening what a user names: whole files only, and the reason where it cannot be done."""

import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shortened, shown

_REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EISDIR: "it is a directory, not a file",
    errno.ELOOP: "its symbolic links lead in a circle",
}
_KINDS = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def path_trouble(path: str | Path, *, bytes_too: bool = True) -> str | None:
    """Why no file can have that name, as the rest of a sentence about it; None if one can.

    bytes_too: also one of bytes that are no text, which Python holds as halves of characters.
    """
    if "\0" in str(path):
        return "holds a NUL character, which no path may"
    encoding = sys.getfilesystemencoding()
    try:
        str(path).encode(encoding, sys.getfilesystemencodeerrors() if bytes_too else "strict")
    except UnicodeEncodeError:
        return f"is no text in {encoding}, which paths are written in here"
    return None


def reason(error: Exception) -> str:
    """Why the system refused, in its words or in plainer ones."""
    number = error.errno if isinstance(error, OSError) else None
    text = error.strerror if isinstance(error, OSError) else None
    return _REASONS.get(number or 0) or text or str(error)


def named_twice(paths: Iterable[Path]) -> tuple[Path, Path] | None:
    """The first two that are one file or folder, by whatever names; None where there are none."""
    known: dict[Path, Path] = {}
    for path in paths:
        other = known.setdefault(path.resolve(), path)
        if other is not path:
            return other, path
    return None


def open_file(path: Path, *, pipe_too: bool = False) -> BinaryIO:
    """Opens a file for reading. Raises OSError, also for a directory, a pipe or a device.

    Of a pipe one would wait for ever, and a device such as /dev/zero has no end. pipe_too: a pipe is opened all the
    same, when somebody writes to it.
    """
    return open(open_descriptor(path, pipe_too=pipe_too)[0], "rb")  # noqa: PTH123 (a descriptor)


def open_descriptor(path: str | Path, *, pipe_too: bool = False) -> tuple[int, int]:
    """As `open_file`, for small files, of which Python's file is half the work: a descriptor, which the caller closes,
    and how many bytes there are."""
    try:
        waits = pipe_too and stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 (for texts, too)
        # without waiting: to open a pipe waits for whoever writes to it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if waits else os.O_NONBLOCK))
    except ValueError:
        raise OSError(errno.EINVAL, f"its name {path_trouble(path)}") from None
    status = os.fstat(descriptor)
    kind = None if stat.S_ISREG(status.st_mode) else _other_kind(status.st_mode)
    if kind is not None and not (waits and kind == "pipe"):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"it is a {kind}, not a file")
    return descriptor, status.st_size


def read_own(path: Path, called: str, most: int) -> bytes:
    """What a run wrote to that file, up to `most` bytes. Raises FileNotFoundError where there is none, and UserError,
    naming it as it is called, where it cannot be read or is longer."""
    try:
        with open_file(path) as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{called} cannot be read: {reason(error)}") from None
    if len(content) > most:
        raise UserError(f"{called} cannot be read: it has more than {most} bytes, which no run writes")
    return content


def is_file(path: Path) -> bool:
    """Whether there is a file, or a link to one; a directory is none. Raises UserError where it cannot be told, and
    for a pipe or a device, which nobody means."""
    mode = _mode(path)
    kind = None if mode is None else _other_kind(mode)
    if kind is not None and kind != "directory":
        raise UserError(f"{path} is a {kind}, not a file")
    return mode is not None and kind is None


def is_there(path: Path) -> bool:
    """Whether there is anything. Raises UserError where it cannot be told."""
    return _mode(path) is not None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"{shown(str(path))} {path_trouble(path)}") from None
    except OSError as error:
        raise UserError(f"{shortened(str(path), 300)} is out of reach: {reason(error)}") from None


def _other_kind(mode: int) -> str | None:
    """What it is if it is no file."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)
