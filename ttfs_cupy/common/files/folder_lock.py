"""A folder that one process at a time works in."""

import errno
import fcntl
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.forks import renew_in_children

NAME = ".ttfs_cupy-lock"

# How flock says that a file system keeps no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
# Whoever has just locked the file needs a moment to write there who it is.
SECONDS_TO_SIGN = 0.5
# Each is lost to another process that made or removed the same folder in that moment.
ATTEMPTS = 1000
# So often in a row nothing could be made in a folder that is there: one that has been removed under us, or of /proc.
ATTEMPTS_IN_A_ROW = 100


class InUseError(UserError):
    """Another process works in the folder, or another thread of this one."""


@dataclass
class _Held:
    """A lock that is held. made: the folders that were made for it, outermost first."""

    path: Path
    descriptor: int
    made: list[Path]
    process: int
    # who is at work, and in how many blocks within each other
    thread: int | None = None
    blocks: int = 0

    def is_ours(self) -> bool:
        """Not so in a forked child, nor where the folder has been removed: the lock keeps nobody out there."""
        return os.getpid() == self.process and _is_at(self.descriptor, self.path)

    def is_busy(self) -> bool:
        """Whether another thread is at work."""
        return self.blocks > 0 and self.thread != threading.get_ident()

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
    with a run that it has begun, whatever became of the objects that began it. At work is one thread at a time.

    tidy: called whenever the lock has been taken, before anybody else can have it or be at work; not where it has
    passed from one object to the next.
    """

    def __init__(self, folder: Path, tidy: Callable[[], None] | None = None):
        self.folder = folder
        self._tidy = tidy
        self._held: _Held | None = None
        self._at_end: weakref.finalize[[], FolderLock] | None = None

    def take(self, *, make_folder: bool = False) -> None:
        """Takes the lock, unless it is held. Raises InUseError, OSError where the file or the folder cannot be made,
        and UserError if others keep removing the folder.

        make_folder: for a new folder. It is made, with those above it, and `release` removes what is empty of these.
        Whoever has it, at work or not, keeps it then.
        """
        with _OURS.one_at_a_time:
            self._take(make_folder)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Takes the lock, and releases it at the end of the outermost such block. Raises InUseError while another
        thread is in one."""
        with _OURS.one_at_a_time:
            held = self._take(make_folder=False)
            held.thread, held.blocks = threading.get_ident(), held.blocks + 1
        try:
            yield
        finally:
            with _OURS.one_at_a_time:
                held.blocks -= 1
                if not held.blocks and self._held is held:
                    self._let_go()

    def release(self) -> None:
        """Lets others in, unless another thread is at work. As this object goes, or the process ends, that happens by
        itself."""
        with _OURS.one_at_a_time:
            if self._held is None or not self._held.is_busy():
                self._let_go()

    def owner(self) -> str | None:
        """Who has the lock, as a sentence has it: process 12 on host; None if nobody."""
        return _owner(self.folder / NAME)

    def after_fork(self) -> None:
        """A child closes its copy of the lock: else the folder would stay locked until parent and child have ended."""
        self._let_go()

    def _take(self, make_folder: bool) -> _Held:
        if self._held is not None and self._held.is_ours():
            if self._held.is_busy():
                raise InUseError(f"'{self.folder}' is in use by another thread of this process")
            return self._held
        self._let_go()
        made: list[Path] = []
        try:
            descriptor = self._locked(made if make_folder else None)
        except BaseException:
            _remove_if_empty(made)
            raise
        if descriptor is None:
            # taken over from another object, in whose name somebody may be writing: a thread that is not at work
            assert self._held is not None
            return self._held
        held = _Held(self.folder / NAME, descriptor, made, os.getpid())
        self._keep(held)
        if self._tidy is not None:
            self._tidy()
        return held

    def _let_go(self) -> None:
        if self._at_end is not None:
            self._at_end()
        self._held = self._at_end = None

    def _keep(self, held: _Held) -> None:
        self._held = held
        self._at_end = weakref.finalize(self, held.end)
        _OURS.holders[_identity(held.descriptor)] = self

    def _locked(self, made: list[Path] | None) -> int | None:
        """An open file with the lock; None if it came from another object of this process.

        made: takes the folders that had to be made; None: the folder is there, and may be another object's.
        """
        path, deadline = self.folder / NAME, time.monotonic() + SECONDS_TO_SIGN
        in_a_row = 0
        for _ in range(ATTEMPTS):
            try:
                if made is not None:
                    _make(self.folder, made)
                descriptor, is_new = _open(path)
            except FileNotFoundError as error:
                in_a_row = in_a_row + 1 if _had_a_place(error) else 0
                if in_a_row == ATTEMPTS_IN_A_ROW or (made is None and not self.folder.is_dir()):
                    raise
                continue
            in_a_row = 0
            try:
                kept_out = _lock(descriptor, is_new)
                if kept_out is None:
                    if _is_at(descriptor, path):
                        _sign(descriptor)
                        return os.dup(descriptor)
                elif made is None and self._takes_over(descriptor):
                    return None
                elif kept_out.errno in _NO_LOCKS:
                    raise InUseError(
                        f"'{self.folder}' may be in use by {_signed(path) or 'a process that has ended'}, and its file "
                        f"system keeps no locks ({kept_out.strerror}): if no process works there, remove {path}"
                    )
                else:
                    owner = _owner(path)
                    if owner is not None or time.monotonic() > deadline:
                        raise InUseError(f"'{self.folder}' is in use by {owner or 'another process'}")
                    time.sleep(0.01)
            finally:
                os.close(descriptor)
        raise UserError(f"'{self.folder}' cannot be had: other processes keep making and removing it")

    def _takes_over(self, descriptor: int) -> bool:
        holder = _OURS.holders.get(_identity(descriptor))
        if holder is None or holder._at_end is None or holder._held is None:
            return False
        if holder._held.blocks or not holder._held.is_ours():
            return False
        held, holder._held = holder._held, None
        holder._at_end.detach()
        holder._at_end = None
        self._keep(held)
        return True


class _Ours:
    """What this process holds. A forked child holds nothing, and does not wait for a thread that it has not."""

    def __init__(self) -> None:
        # by the file that is locked
        self.holders: weakref.WeakValueDictionary[tuple[int, int], FolderLock] = weakref.WeakValueDictionary()
        # Reentrant: a lock may go, and be let go, with an object that is collected meanwhile.
        self.one_at_a_time = threading.RLock()
        renew_in_children(self)

    def after_fork(self) -> None:
        self.one_at_a_time = threading.RLock()
        for holder in list(self.holders.values()):
            holder.after_fork()
        self.holders.clear()


_OURS = _Ours()


def _open(path: Path) -> tuple[int, bool]:
    """The lock file, open, and whether it was made."""
    with suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW), False


def _had_a_place(error: FileNotFoundError) -> bool:
    """Whether the folder is there in which something could not be made."""
    return error.filename is not None and Path(error.filename).parent.is_dir()


def _lock(descriptor: int, is_new: bool) -> OSError | None:
    """Locks the file. Returns why it could not be had: somebody else has it, or, where there are no locks, the file was
    there already. Raises any other OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        return error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None if is_new else error
    return None


def _sign(descriptor: int) -> None:
    # on a full disk it is locked all the same, only not by name
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _owner(path: Path) -> str | None:
    """Who has the lock, by its signature; None if nobody has it, or whoever has it has not signed yet.

    The signature alone would not do: a killed process leaves it, and its number may be another's by now, or its host's
    name another one.
    """
    try:
        # neither waits for the other end of a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):  # the latter of what can be no path
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # at once, and also for a child that is forked meanwhile; whoever was kept out by this tries again
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        # somebody has it, or there are no locks here
        return _signed(path)
    finally:
        os.close(descriptor)
    return None


def _signed(path: Path) -> str | None:
    """Who has signed the lock; None if that is somebody who has ended, or nobody."""
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
