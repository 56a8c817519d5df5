"""Arrays in NumPy's own files, .npy and .npz: numbers and text alone, no pickles, within what the file can hold."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import message_of, shown, shown_path
from ttfs_cupy.data.decoding.bounded import LARGEST_RATIO, read_content

# bytes of a header, of which a hundred are usual
LONGEST_HEADER = 10_000
# of others than these nobody knows how much a byte may become
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# booleans, whole numbers, floats, text; and rows of such, by name
KINDS, ROWS = "biufU", "V"


def read_npy(path: Path, *, most: int | None = None, rows: bool = False) -> NDArray[Any]:
    """The array in a .npy file. most: bytes that it may have; None: what fits the file. rows: it may be structured.

    Raises UserError, which names the file.
    """
    array: NDArray[Any] = _read(path, lambda file, size: _array(file, size, most, KINDS + ROWS if rows else KINDS))
    return array


def read_npz(path: Path, names: tuple[str, ...], *, most: int | None = None) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that a .npz file holds. most: bytes that each may have; None: what fits the file.

    Raises UserError, which names the file.
    """
    arrays: dict[str, NDArray[Any]] = _read(path, lambda file, size: _members(file, size, names, most))
    return arrays


def _read(path: Path, read: Callable[[BinaryIO, int], Any]) -> Any:
    try:
        file = open_file(path)
    except OSError as error:
        raise UserError(f"{shown_path(path)} cannot be read: {reason(error)}") from None
    try:
        with file:
            return read(file, os.fstat(file.fileno()).st_size)
    except MemoryError:
        raise
    # a damaged zip may raise nearly anything
    except Exception as error:
        kind = "NumPy's .npz" if path.suffix == ".npz" else "NumPy's .npy or .npz"
        raise UserError(f"{shown_path(path)} is damaged, or no file of {kind} kind: {message_of(error)}") from error


def _members(file: IO[bytes], size: int, names: tuple[str, ...], most: int | None) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        there = {info.filename: info for info in archive.infolist()}
        return {name: _member(archive, there[f"{name}.npy"], size, most) for name in names if f"{name}.npy" in there}


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, most: int | None) -> NDArray[Any]:
    called = info.filename
    if info.compress_type not in METHODS:
        raise ValueError(f"{called} is compressed by another method than deflate")
    if info.compress_size > size or info.file_size > info.compress_size * LARGEST_RATIO:
        raise ValueError(f"{called} cannot hold the {info.file_size} bytes that it is said to hold")
    with archive.open(info) as member:
        try:
            return _array(member, info.file_size, most, KINDS)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"{called}: {message_of(error)}") from None


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Of an array in NumPy's format: shape, whether it lies column by column, type, and how many bytes come before it.

    Raises ValueError for what is no header, or has more than LONGEST_HEADER bytes.
    """
    start = file.read(8)
    version = np.lib.format.read_magic(io.BytesIO(start))
    width = 2 if version[0] == 1 else 4
    length = file.read(width)
    if int.from_bytes(length, "little") > LONGEST_HEADER:
        raise ValueError(f"its header is longer than {LONGEST_HEADER} bytes")
    header = length + file.read(int.from_bytes(length, "little"))
    parse = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        return *parse(io.BytesIO(header)), len(start) + len(header)
    except MemoryError:
        # of Python's parser, at brackets within brackets
        raise ValueError("its header is no dictionary") from None


def _array(file: IO[bytes], size: int, most: int | None, kinds: str) -> NDArray[Any]:
    """size: bytes that the file may hold, and is to hold. Raises ValueError, before more memory is taken."""
    shape, is_fortran, dtype, start = read_header(file)
    if dtype.kind not in kinds or dtype.hasobject or dtype.subdtype is not None:
        raise ValueError(f"it holds {shown(str(dtype))}, not numbers or text")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header says the shape {shown(shape)}")
    bytes_of_array = dtype.itemsize * math.prod(shape)
    promised = start + bytes_of_array
    if promised != size:
        raise ValueError(f"it has {size} bytes, where its header says {promised}")
    if most is not None and bytes_of_array > most:
        raise ValueError(f"its array has {bytes_of_array} bytes, where {most} would be many")
    content, more = read_content(file, bytes_of_array)
    if more or len(content) != bytes_of_array:
        raise ValueError(f"it ends after {len(content)} bytes of {bytes_of_array}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
