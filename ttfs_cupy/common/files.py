"""Writing files whole or not at all; and where modules are found."""

import os
import sys
import tempfile
from pathlib import Path

from ttfs_cupy.common.errors import UserError


def import_path() -> list[str]:
    """sys.path for a process of ours: it finds the modules that this one finds, wherever it is started."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def make_folder(path: Path) -> None:
    """Makes a folder in one that is there, unless it is there, too. Raises UserError."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes to a temporary file beside `path` and renames it; raises UserError, leaving `path` as it was."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
