"""MATLAB's files of version 5: the arrays of numbers in them, and nothing else.

scipy.io.loadmat is not for files of strangers: it takes whatever memory a file asks for, and follows cells within cells
until the process crashes.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.data.decoding.bounded import LARGEST_RATIO, PIECE

# the header's bytes, and where in it version and byte order are
HEADER, VERSION = 128, slice(124, 128)
# a version 1 with the two letters of the byte order, little and big
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}

# types of elements: numbers, and what holds others
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
# classes of arrays from double to uint64; what is below are cells, structures, text and the like
NUMERIC = range(6, 16)
IS_COMPLEX = 0x0800
# names and dimensions are short
LONGEST = 256


class _DamagedError(Exception):
    """What is wrong with a file."""


class _Source(Protocol):
    """Bytes of an element. left: at most so many are to come."""

    left: int

    def read(self, size: int) -> bytes: ...


class _Plain:
    """An element's bytes as they lie in the file."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self.left = file, size

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise _DamagedError(f"it ends within {size} bytes")
        content = self._file.read(size)
        self.left -= len(content)
        if len(content) < size:
            raise _DamagedError(f"it ends within {size} bytes")
        return content


class _Inflated:
    """An element's bytes, unpacked no further than they are read."""

    def __init__(self, packed: _Plain):
        self._packed, self._inflater, self._rest = packed, zlib.decompressobj(), b""
        self.left = packed.left * LARGEST_RATIO

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            if self._inflater.eof:
                raise _DamagedError(f"it ends within {size} bytes")
            content += self._next(size - len(content))
        self.left -= size
        return bytes(content)

    def end(self) -> None:
        """Where the checksum is. Up to 7 bytes of padding come before it."""
        padding = 0
        while not self._inflater.eof:
            padding += len(self._next(8))
            if padding >= 8:
                raise _DamagedError("there is more than an array")

    def _next(self, most: int) -> bytes:
        """Some bytes; none where more of the file is needed. The inflater may have taken all, and still hold some."""
        piece = self._rest or self._packed.read(min(PIECE, self._packed.left))
        content = self._inflater.decompress(piece, most)
        self._rest = self._inflater.unconsumed_tail
        if not piece and not content and not self._inflater.eof:
            raise _DamagedError("it ends before its checksum")
        return content


class _Header(NamedTuple):
    """What comes before an array's numbers."""

    name: str
    flags: int
    shape: tuple[int, ...]


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The real arrays of numbers of these names, in the types that they are stored in; others are skipped.

    Raises UserError, naming the file, for one that is damaged or lacks one of them. No more is read, and no more memory
    taken, than the file can hold.
    """
    try:
        with open_file(path) as file:
            left = os.fstat(file.fileno()).st_size
            start = file.read(HEADER)
            order = ORDERS.get(start[VERSION])
            if order is None:
                raise UserError(f"{path} is not a MATLAB file of version 5: fetch it again")
            found = dict(_arrays(file, order, left - HEADER, names))
    except (_DamagedError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({message_of(error)}): fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{path} does not hold {', '.join(missing)}: fetch it again")
    return found


def _arrays(file: BinaryIO, order: str, left: int, names: tuple[str, ...]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each array of one of the names, out of `left` bytes. What they have after the last one is not looked at."""
    wanted = set(names)
    while wanted and left:
        tag = _Plain(file, left).read(8)
        kind, size = struct.unpack(f"{order}2I", tag)
        if size > left - 8:
            raise _DamagedError(f"an element of {size} bytes does not fit into it")
        left -= 8 + size
        place = file.tell()
        plain = _Plain(file, size)
        inflated = _Inflated(plain) if kind == COMPRESSED else None
        source: _Source = inflated or plain
        if inflated:
            kind, _ = struct.unpack(f"{order}2I", source.read(8))
        if kind != MATRIX:
            raise _DamagedError(f"an element is of type {kind}, where arrays are {MATRIX}")
        header = _header(source, order)
        if header.name in wanted:
            yield header.name, _numbers(source, order, header)
            wanted.discard(header.name)
            if inflated:
                inflated.end()
        file.seek(place + size)


def _header(source: _Source, order: str) -> _Header:
    flags = _element(source, order, UINT32, LONGEST)
    sizes = _element(source, order, INT32, LONGEST)
    name = _element(source, order, INT8, LONGEST)
    if len(flags) != 8 or len(sizes) % 4 or len(sizes) < 8:
        raise _DamagedError("an array has no shape")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if min(shape) < 0:
        raise _DamagedError(f"an array has the shape {shape}")
    return _Header(name.decode("latin1"), struct.unpack(f"{order}2I", flags)[0], shape)


def _numbers(source: _Source, order: str, header: _Header) -> NDArray[Any]:
    """The array in its shape: MATLAB's order of axes, the first one fastest."""
    if header.flags & 0xFF not in NUMERIC or header.flags & IS_COMPLEX:
        raise _DamagedError(f"{header.name} is no array of real numbers")
    kind, size, packed = _tag(source, order)
    if kind not in NUMBERS:
        raise _DamagedError(f"{header.name} is of type {kind}, which no numbers are")
    dtype = np.dtype(f"{order}{NUMBERS[kind]}")
    if size != math.prod(header.shape) * dtype.itemsize:
        raise _DamagedError(f"{header.name} of shape {header.shape} has {size} bytes")
    if packed is None and size > source.left:
        raise _DamagedError(f"it cannot hold the {size} bytes of {header.name}")
    content = source.read(size) if packed is None else packed
    return np.frombuffer(content, dtype).reshape(header.shape, order="F")


def _element(source: _Source, order: str, wanted: int, most: int) -> bytes:
    """The bytes of a short element of that type, without its padding."""
    kind, size, packed = _tag(source, order)
    if kind != wanted or size > most:
        raise _DamagedError(f"an element is of type {kind} and {size} bytes, where type {wanted} belongs")
    if packed is not None:
        return packed
    return source.read(size + -size % 8)[:size]


def _tag(source: _Source, order: str) -> tuple[int, int, bytes | None]:
    """Type, size, and the bytes themselves of an element that is so short that they stand in its tag."""
    tag = source.read(8)
    kind, size = struct.unpack(f"{order}2I", tag)
    if kind <= 0xFFFF:
        return kind, size, None
    kind, size = kind & 0xFFFF, kind >> 16
    if size > 4:
        raise _DamagedError(f"a short element has {size} bytes")
    return kind, size, tag[4 : 4 + size]
