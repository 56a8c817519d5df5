"""Small file systems, which root may mount: to fill them up, and to write-protect them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """An empty one at that folder, which is made. Skips the test where nothing can be mounted."""
    folder.mkdir()
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield folder


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Whoever opens something below the folder in this block finds a read-only file system; what is open stays so."""
    with _mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


def fill(disk: Path) -> Path:
    """Takes all room that is left; returns the file that does."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    try:
        subprocess.run(["mount", *arguments, str(folder)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.strip()}")
    try:
        yield
    finally:
        # lazily: whatever is still open there goes later
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
