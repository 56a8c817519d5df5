"""Where compiled kernels, and what a device was found to be fastest with, are kept between runs."""

import atexit
import logging
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

logger = logging.getLogger("ttfs_cupy")


def cache_folder() -> Path:
    """$TTFS_CUPY_CACHE, else ttfs_cupy under the user's cache folder, else (not writable) a temporary folder."""
    chosen = os.environ.get("TTFS_CUPY_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(chosen) if chosen else (Path(base) if base else Path.home() / ".cache") / "ttfs_cupy"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:
        return _temporary_folder(" ".join(str(error).split()))


@cache
def _temporary_folder(trouble: str) -> Path:
    """This process's own, until it ends: of no shared name, so that nobody else can put a library there for us to load.

    trouble: why it is needed, which is told once.
    """
    logger.warning("kernels are compiled at every start, for want of a cache: %s; set TTFS_CUPY_CACHE", trouble)
    folder = Path(tempfile.mkdtemp(prefix="ttfs_cupy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
