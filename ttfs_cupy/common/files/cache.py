"""Where what is made once is kept between runs: compiled kernels, what a device is fastest with, decoded data sets.

Places come in an order: $TTFS_CUPY_CACHE, ttfs_cupy under the user's cache folder, the user's own folder among the
temporary ones, and one of this process alone. What is looked for is taken from the first that has it, and nothing is
written then: a ready-made cache may be read-only. What none has is made in the first that can be written.
"""

import atexit
import errno
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from ttfs_cupy.common.errors import UserError

logger = logging.getLogger("ttfs_cupy")

# What must be free to write to a place: for the kernels' library, and what its compiler writes on the way to it.
BYTES_NEEDED = 8 << 20


def places() -> Iterator[Path]:
    """The folders to look in, in order; they need not exist, but the last one can be written to.

    Only whoever asks for the next one has the one before tried, by writing to it.
    """
    for place in _candidates():
        if _is_name(place):
            yield place
        if not _trouble(place):
            return


def cache_folder() -> Path:
    """The last of the places: where to write. That it is not the first is told once, with the reason.

    Raises UserError where no place can be written to.
    """
    troubles: list[str] = []
    for place in _candidates():
        trouble = _trouble(place)
        if not trouble:
            if troubles:
                _tell(place, "; ".join(troubles))
            return place
        troubles.append(trouble)
    raise UserError(
        f"there is no place to keep compiled kernels in: {'; '.join(troubles)}; "
        "set TTFS_CUPY_CACHE to a folder that can be written"
    )


def user_cache() -> Path | None:
    """What programs keep for a user is below it; None of a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None


def can_be_written(folder: Path) -> bool:
    """Whether a folder, which need not exist, is one to write to, as far as permissions tell."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _is_name(place: Path) -> bool:
    """Whether a folder can have that name: of another, whoever looks into it raises."""
    try:
        place.lstat()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    except ValueError:
        return False
    return True


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get("TTFS_CUPY_CACHE")
    if chosen:
        with suppress(RuntimeError):  # ~name of nobody here
            yield Path(chosen).expanduser()
    base = user_cache()
    if base is not None:
        yield base / "ttfs_cupy"
    with suppress(OSError):  # no temporary folder either
        own = _own_temporary_folder()
        yield own if own is not None else _folder_of_this_process()


def _trouble(place: Path) -> str | None:
    """Why it cannot be written to; None if it can."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
        if shutil.disk_usage(place).free < BYTES_NEEDED:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{place} cannot be written ({reason})"
    return None


def _own_temporary_folder() -> Path | None:
    """The user's own, which the next start finds again; None where it is not safe.

    Its name can be foreseen, so somebody else may have made it, or a link of that name, to have us load a library of
    theirs. Hence it is used only if it is a folder, not a link; if it is the user's, and nobody else may enter it; and
    if nobody else can put another in its place, which among temporary folders the sticky bit forbids. What is in it is
    then by the user, or by the superuser: as safe as a name that is drawn at random, by which such a folder is made
    with the same owner and mode in the same place.
    """
    above = Path(tempfile.gettempdir())
    folder = above / f"ttfs_cupy-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found, outer = folder.lstat(), above.stat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    stays = outer.st_mode & stat.S_ISVTX or not outer.st_mode & 0o022
    return folder if is_ours and stays and outer.st_uid in (0, os.geteuid()) else None


@cache
def _folder_of_this_process() -> Path:
    """Until it ends."""
    folder = Path(tempfile.mkdtemp(prefix="ttfs_cupy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _tell(place: Path, trouble: str) -> None:
    """Once, and only where something is written: what is found needs no advice."""
    until = ", which may be cleared at any time" if Path(tempfile.gettempdir()) in place.parents else ""
    logger.warning("%s: compiled kernels are kept in %s instead%s; set TTFS_CUPY_CACHE", trouble, place, until)
