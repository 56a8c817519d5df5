"""The format idx, in which MNIST was published: one array a file, gzipped or not."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.data.decoding.bounded import LARGEST_RATIO, read_content


@dataclass(frozen=True)
class Kind:
    """What an idx file holds. ending: of its name; code: the type's in the header; content: what it is called."""

    ending: str
    dimensions: int
    code: int = 8
    dtype: str = "u1"
    content: str = "bytes"


def read_idx(path: Path, kind: Kind) -> NDArray[Any]:
    """The array in an idx file of that kind, gzipped if its name ends so. Raises UserError, naming the file.

    Nothing is read beyond what the header promises, and nothing at all where the file is too small for that: a few
    bytes may promise, or unpack to, more than there is memory.
    """
    zipped = path.suffix == ".gz"
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not zipped:
                return _content(file, path, kind, size, exact=True)
            with gzip.open(file) as unzipped:
                return _content(unzipped, path, kind, size * LARGEST_RATIO, exact=False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be unzipped ({message_of(error)}): fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def _content(file: BinaryIO | gzip.GzipFile, path: Path, kind: Kind, most: int, *, exact: bool) -> NDArray[Any]:
    """most: bytes that the file may hold; exact: and does."""
    start = 4 * (1 + kind.dimensions)
    header = file.read(start)
    # idx: two zero bytes, the type, the number of dimensions, each dimension, big-endian
    if len(header) < start or header[:4] != bytes([0, 0, kind.code, kind.dimensions]):
        raise UserError(
            f"{path} is not an idx file of {kind.content} in {kind.dimensions} dimension(s): fetch it again"
        )
    shape = struct.unpack(f">{kind.dimensions}I", header[4:])
    if shape[0] == 0:
        raise UserError(f"{path} is empty: its header counts 0 entries")
    promised = start + math.prod(shape) * np.dtype(kind.dtype).itemsize
    if exact and promised != most:
        raise UserError(f"{path} is damaged, {most} bytes where its header says {promised}: fetch it again")
    if promised > most:
        raise UserError(f"{path} is damaged: it cannot hold the {promised} bytes that its header says: fetch it again")
    content, more = read_content(file, promised - start)
    if more or len(content) != promised - start:
        found = f"more than {promised}" if more else f"{start + len(content)}"
        raise UserError(f"{path} is damaged, {found} bytes where its header says {promised}: fetch it again")
    return np.frombuffer(content, kind.dtype).reshape(shape)
