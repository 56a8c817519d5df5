"""Decoded data sets, kept in the cache's folder: what takes seconds to decode is read in a tenth of one.

An entry is one file, written whole or not at all: a line of JSON with its own checksum, then the arrays, each with one.
Whatever is wrong with an entry, the data set is decoded anew. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.cache import cache_folder, places
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.data.sources.images import Dataset, ImageSet
from ttfs_cupy.data.sources.raw import Options

logger = logging.getLogger("ttfs_cupy")

# Of what decodes, and of an entry's form: another number, and every data set is decoded anew.
VERSION = 1

FOLDER = "datasets"
# of all entries: those that were used longest ago go first. And what stays free on the disk.
MOST_BYTES = 16 << 30
SPARE_BYTES = 1 << 30
# File systems tell times in steps, the coarsest of 2 s: what was written within one may yet be written again unnoticed.
SECONDS_TO_SETTLE = 2.0
# after which nobody writes to a temporary file any more
SECONDS_OF_WRITING = 3600.0
LONGEST_HEADER = 1 << 24


def key_of(name: str, options: Options, files: Sequence[str | Path]) -> str | None:
    """What names the entry of a data set that is read from these files; None where it is not to be kept.

    A file counts by its path, size, times and inode. Its time of change is among them, which whoever copies old times
    onto a file cannot set.
    """
    digest, newest = hashlib.blake2b(digest_size=16), 0
    digest.update(json.dumps([VERSION, name, astuple(options), _decoders()]).encode())
    try:
        for file in files:
            status = os.stat(file)  # noqa: PTH116 (of ten thousands of files)
            newest = max(newest, status.st_mtime_ns)
            times = (status.st_mtime_ns, status.st_ctime_ns)
            known = (os.path.abspath(file), status.st_size, *times, status.st_dev, status.st_ino)  # noqa: PTH100
            digest.update(repr(known).encode(errors="backslashreplace"))
    except (OSError, ValueError):
        # whoever reads it says what is wrong
        return None
    if not files or newest / 1e9 > time.time() - SECONDS_TO_SETTLE:
        return None
    return f"{name}-{digest.hexdigest()}"


def fetch(key: str) -> Dataset | None:
    """The data set of that key; None if there is none, or it is damaged."""
    with suppress(OSError):
        for place in places():
            path = place / FOLDER / key
            # what is damaged may raise nearly anything
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                dataset = _read(path)
                with suppress(OSError):
                    os.utime(path)
                return dataset
    return None


def keep(key: str, dataset: Dataset) -> None:
    """Keeps it, if there is a place for it; else the log says why not."""
    arrays: list[NDArray[Any]] = [dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels]
    size = sum(array.nbytes for array in arrays)
    facts = {
        "name": dataset.name,
        "maximum": dataset.train.maximum,
        "classes": dataset.classes,
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "class_names": dataset.class_names,
        "arrays": [(array.dtype.str, array.shape, zlib.crc32(array.data)) for array in arrays],
    }
    header = json.dumps(facts).encode()
    try:
        folder = cache_folder() / FOLDER
        # as private as the images may be
        folder.mkdir(mode=0o700, exist_ok=True)
        _make_room(folder, size)
        line = b"%08x %s\n" % (zlib.crc32(header), header)
        write_atomically(folder / key, line, *(array.data for array in arrays))
    except (OSError, UserError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        logger.info("the decoded data set %s is not kept for the next start: %s", dataset.name, why)


def _read(path: Path) -> Dataset:
    """Raises OSError, ValueError and others for what is no whole entry."""
    with open_file(path) as file:
        line = file.readline(LONGEST_HEADER)
        checksum, header = line[:8], line[9:-1]
        if int(checksum, 16) != zlib.crc32(header):
            raise ValueError("its header is damaged")
        facts = json.loads(header)
        sizes = [np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape, _ in facts["arrays"]]
        # before memory is taken
        if len(line) + sum(sizes) != os.fstat(file.fileno()).st_size:
            raise ValueError("it is not as long as its header says")
        arrays = [_array(file, *described) for described in facts["arrays"]]
    train_images, train_labels, test_images, test_labels = arrays
    names = None if facts["class_names"] is None else tuple(facts["class_names"])
    return Dataset(
        facts["name"],
        ImageSet(train_images, train_labels, facts["maximum"], names),
        ImageSet(test_images, test_labels, facts["maximum"], names),
        facts["classes"],
        np.array(facts["mean"], np.float32),
        np.array(facts["std"], np.float32),
    )


def _array(file: BinaryIO, dtype: str, shape: Sequence[int], checksum: int) -> NDArray[Any]:
    array = np.empty(shape, dtype)
    content = memoryview(array.reshape(-1).view(np.uint8))
    if file.readinto(content) != array.nbytes or zlib.crc32(content) != checksum:  # type: ignore[attr-defined]
        raise ValueError("it is damaged")
    return array


def _make_room(folder: Path, size: int) -> None:
    """Removes what was used longest ago, and what killed processes left. Raises OSError where there is no room."""
    entries = []
    for path in folder.iterdir():
        with suppress(OSError):
            status = path.stat()
            if path.name.startswith(".") and status.st_mtime < time.time() - SECONDS_OF_WRITING:
                path.unlink()
            else:
                entries.append((status.st_mtime, status.st_size, path))
    excess = size + sum(length for _, length, _ in entries) - MOST_BYTES
    for _, length, path in sorted(entries):
        if excess <= 0 or size > MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        excess -= length
    if excess > 0:
        raise UserError(f"it has {size:,} bytes, and all that are kept may have {MOST_BYTES:,}")
    if shutil.disk_usage(folder).free < size + SPARE_BYTES:
        raise UserError(f"the disk of {folder} is nearly full")


def _decoders() -> list[str]:
    """The versions of what decodes photographs and recordings, without importing it."""
    return [_version_of(package) for package in ("pillow", "tonic")]


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
