"""Writing files whole or not at all; and where modules are found."""

import glob
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file


def import_path() -> list[str]:
    """sys.path for a process of ours: it finds the modules that this one finds, wherever it is started."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def make_folder(path: Path) -> None:
    """Makes a folder in one that is there, unless it is there, too. Raises UserError."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made: {error.strerror or error}") from error


def check_writable(file: Path) -> None:
    """Raises UserError where `write_atomically` could not write it, or would put it in the place of a pipe or a device:
    for commands whose work takes a while."""
    if file.is_dir():
        raise UserError(f"{file} cannot be written: it is a folder")
    # a pipe or a device would lose its name to the file; and in /dev there are links to outputs, which may be files
    is_file(file)
    if file.parent.resolve() == Path("/dev"):
        raise UserError(f"{file} cannot be written: it is a device")
    if not file.parent.is_dir():
        raise UserError(f"{file} cannot be written: there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"{file} cannot be written: the folder {file.parent} is write-protected")


def check_new_folder(folder: Path) -> None:
    """Raises UserError where a folder, which is not there, could not be made."""
    if folder.is_symlink():
        raise UserError(f"{folder} cannot be made: it is a link to what is not there")
    check_writable(folder)


def check_picture(option: str, file: Path) -> None:
    """Raises UserError where the file that a command's option names could not be written, or is not called .png."""
    if file.suffix != ".png":
        raise UserError(f"{option} makes a PNG file, so its name has to end in .png, not {file.name!r}")
    check_writable(file)


def write_atomically(path: Path, *pieces: bytes | memoryview, previous: Path | None = None) -> None:
    """Writes the pieces, one behind the other, to a temporary file beside `path` and renames it; raises UserError,
    leaving `path` as it was.

    A new file's permissions are those that the umask leaves. previous: what the file that was there is called from now
    on; None: it goes.
    """
    with written_aside(path, *pieces, previous=previous):
        pass


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Writes each file as `write_atomically` does: all of them, or none where one cannot be. Raises UserError."""
    with ExitStack() as all_written:
        for path, content in contents.items():
            all_written.enter_context(written_aside(path, content))


@contextmanager
def opened_aside(path: Path) -> Iterator[Callable[[bytes], None]]:
    """For what is written piece by piece: gives a function that writes one, to a temporary file beside `path`, which
    takes its place at the end of the block, unless something is raised there. Raises UserError as write_atomically."""
    with _replacing(path) as temporary:
        with _refused(path):
            file = temporary.open("xb")
        with file:

            def write(piece: bytes) -> None:
                with _refused(path):
                    file.write(piece)

            yield write
            with _refused(path):
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def written_aside(path: Path, *pieces: bytes | memoryview, previous: Path | None = None) -> Iterator[None]:
    """As write_atomically; but it is renamed at the end of the block, unless something is raised there: for what must
    not be written before something else is, and needs the same room."""
    with _replacing(path, previous) as temporary:
        with _refused(path), temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        yield


@contextmanager
def _replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """The temporary file, which takes the place of `path` at the end of the block, and goes if something is raised."""
    temporary = _temporary(path)
    try:
        yield temporary
        with _refused(path):
            if previous is not None and path.exists():
                also_called(path, previous)
            temporary.replace(path)
    finally:
        # after the renaming there is none
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def also_called(path: Path, name: Path) -> None:
    """Gives a file a second name, in place of whatever has it; without links on the file system it is copied.

    Raises OSError, and UserError where that name cannot be had.
    """
    temporary = _temporary(name)
    try:
        os.link(path, temporary)
    except FileNotFoundError:
        raise
    except OSError:
        write_atomically(name, path.read_bytes())
        return
    try:
        temporary.replace(name)
    except OSError as error:
        raise UserError(f"{name} cannot be written: {error.strerror or error}") from error
    finally:
        # of two names of one file nothing is renamed
        with suppress(OSError):
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")


def clear_temporaries(paths: Iterable[Path]) -> None:
    """Removes what `write_atomically` to these paths left when it was killed. Nobody else may be writing them."""
    for path in paths:
        # tempfile named those of earlier versions, of the same length
        for left in path.parent.glob(f".{glob.escape(path.name)}-" + "[0-9a-z_]" * 8):
            with suppress(OSError):
                left.unlink()
