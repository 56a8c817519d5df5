"""A folder that one process at a time works in."""

import errno
import fcntl
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ttfs_cupy.common.errors import UserError

NAME = ".ttfs_cupy-lock"

# How flock says that a file system keeps no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
# Whoever has just locked the file needs a moment to write there who it is.
SECONDS_TO_SIGN = 0.5
# Each is lost to another process that made or removed the same folder in that moment.
ATTEMPTS = 1000


class InUseError(UserError):
    """Another process works in the folder, or another thread of this one."""


@dataclass
class _Held:
    """A lock that is held. made: the folders that were made for it, outermost first."""

    path: Path
    descriptor: int
    made: list[Path]
    process: int

    def is_ours(self) -> bool:
        """Not so in a forked child, nor where the folder has been removed: the lock keeps nobody out there."""
        return os.getpid() == self.process and _is_at(self.descriptor, self.path)

    def end(self) -> None:
        ours = self.is_ours()
        if ours:
            # before it is let go, so that nobody else's lock is removed
            with suppress(OSError):
                self.path.unlink()
        os.close(self.descriptor)
        if ours:
            _remove_if_empty(self.made)


class FolderLock:
    """flock on a file in the folder, which says whose it is. However a process ends, the kernel frees its locks.

    Where a file system keeps no locks, the file itself is the lock: one that a killed process left has to be removed
    by hand, and the error says so.

    Within a process a folder passes from one FolderLock to the next, unless the first is at work: a notebook goes on
    with a run that it has begun, whatever became of the objects that began it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._work = 0
        self._held: _Held | None = None
        self._at_end: weakref.finalize[[], FolderLock] | None = None

    def take(self, *, make_folder: bool = False) -> None:
        """Takes the lock, unless it is held. Raises InUseError, and OSError where the file cannot be made.

        make_folder: for a new folder. It is made, with those above it, and `release` removes what is empty of these.
        Whoever has it, at work or not, keeps it then.
        """
        with _ONE_AT_A_TIME:
            if self._held is not None and self._held.is_ours():
                return
            self._let_go()
            made: list[Path] = []
            try:
                descriptor = self._locked(made if make_folder else None)
            except BaseException:
                _remove_if_empty(made)
                raise
            # None: taken over from another object
            if descriptor is not None:
                self._keep(_Held(self.folder / NAME, descriptor, made, os.getpid()))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Takes the lock, and releases it at the end of the outermost such block."""
        self.take()
        self._work += 1
        try:
            yield
        finally:
            self._work -= 1
            if not self._work:
                self.release()

    def release(self) -> None:
        """Lets others in. As this object goes, or the process ends, that happens by itself."""
        with _ONE_AT_A_TIME:
            self._let_go()

    def owner(self) -> str | None:
        """Who has the lock, as a sentence has it: process 12 on host; None if nobody."""
        return _owner(self.folder / NAME)

    def _let_go(self) -> None:
        if self._at_end is not None:
            self._at_end()
        self._held = self._at_end = None

    def _keep(self, held: _Held) -> None:
        self._held = held
        self._at_end = weakref.finalize(self, held.end)
        _HOLDERS[_identity(held.descriptor)] = self

    def _locked(self, made: list[Path] | None) -> int | None:
        """An open file with the lock; None if it came from another object of this process.

        made: takes the folders that had to be made; None: the folder is there, and may be another object's.
        """
        path, deadline = self.folder / NAME, time.monotonic() + SECONDS_TO_SIGN
        for _ in range(ATTEMPTS):
            try:
                if made is not None:
                    _make(self.folder, made)
                descriptor, is_new = _open(path)
            except FileNotFoundError:
                if made is None and not self.folder.is_dir():
                    raise
                continue
            try:
                if _lock(descriptor, path, is_new):
                    if _is_at(descriptor, path):
                        _sign(descriptor)
                        return os.dup(descriptor)
                elif made is None and self._takes_over(descriptor):
                    return None
                else:
                    owner = _owner(path)
                    if owner is not None or time.monotonic() > deadline:
                        raise InUseError(f"'{self.folder}' is in use by {owner or 'another process'}")
                    time.sleep(0.01)
            finally:
                os.close(descriptor)
        raise InUseError(f"'{self.folder}' cannot be had: other processes keep making and removing it")

    def _takes_over(self, descriptor: int) -> bool:
        holder = _HOLDERS.get(_identity(descriptor))
        if holder is None or holder._work or holder._at_end is None:
            return False
        if holder._held is None or not holder._held.is_ours():
            return False
        held, holder._held = holder._held, None
        holder._at_end.detach()
        holder._at_end = None
        self._keep(held)
        return True


# Of this process, by the file that is locked.
_HOLDERS: "weakref.WeakValueDictionary[tuple[int, int], FolderLock]" = weakref.WeakValueDictionary()
# Reentrant: a lock may go, and be let go, with an object that is collected meanwhile.
_ONE_AT_A_TIME = threading.RLock()


def _open(path: Path) -> tuple[int, bool]:
    """The lock file, open, and whether it was made."""
    with suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW), False


def _lock(descriptor: int, path: Path, is_new: bool) -> bool:
    """Whether the lock could be had. Raises InUseError where only the file tells, and it was there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not is_new:
            raise InUseError(
                f"'{path.parent}' may be in use by {_owner(path) or 'a process that has ended'}, and its file system "
                f"keeps no locks ({error.strerror}): if no process works there, remove {path}"
            ) from None
    return True


def _sign(descriptor: int) -> None:
    # on a full disk it is locked all the same, only not by name
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _owner(path: Path) -> str | None:
    """Who has signed the lock; None while that is somebody who has ended, or nobody."""
    try:
        process, host = path.read_text().split()
        number = int(process)
        if host == socket.gethostname() and not psutil.pid_exists(number):
            return None
    except (OSError, ValueError, OverflowError):
        return None
    return "this process" if number == os.getpid() else f"process {number} on {host}"


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == _identity(descriptor)


def _make(folder: Path, made: list[Path]) -> None:
    """Makes a folder and those above it; `made` takes those that were not there, outermost first."""
    if folder.is_dir():
        return
    _make(folder.parent, made)
    try:
        folder.mkdir()
    except FileExistsError:
        # made by another process just now, or made and removed again
        if not os.path.lexists(folder):
            raise FileNotFoundError from None
        if not folder.is_dir():
            raise
    else:
        made.append(folder)


def _remove_if_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()
