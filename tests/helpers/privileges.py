"""Root may read and write anywhere: to be somebody else for a while."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As nobody, if we are root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        # who is not root cannot remove what is in a folder that is closed, nor see it
        for path, folders, _ in os.walk(folder):
            for below in (Path(path, name) for name in folders):
                if not below.is_symlink():
                    below.chmod(0o700)
        shutil.rmtree(folder)
