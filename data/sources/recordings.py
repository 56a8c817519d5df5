"""A recording of an event camera, from the formats that data sets of such come in, read within bounds."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of, shown

PACKAGE = ("tonic, which reads recordings of event cameras,", "pip install 'ttfs-cupy[events]'")
FIELDS = ("x", "y", "t", "p")

# bytes of a recording's file and of what it unpacks to; pixels in a row or column; microseconds
LARGEST = 1 << 28
LARGEST_SIDE = 4096
LONGEST = 1 << 48
# the most that deflate makes of a byte
LARGEST_RATIO = 1032

# N-MNIST's format: bytes of an event, and the row that stands for 8.192 ms without one
BIN_EVENT, BIN_OVERFLOW = 5, 240
# tonic goes through all later events for each of these
MOST_BIN_STEPS = 1 << 34

# AEDAT 2: how it begins, and bytes of an event
AEDAT_2, AEDAT_EVENT = b"#!AER-DAT2", 8
# of an address: whether it is of something else than a pixel, and what a DVS128 has not
AEDAT_IS_OTHER, AEDAT_BEYOND = 0x8000, 16


class Events(NamedTuple):
    """What a camera saw, each (N,), in no certain order: int64 column, row, microseconds from the first event on, and
    whether the pixel became brighter (1) or darker (0)."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    t: NDArray[np.int64]
    p: NDArray[np.int64]


def read_recording(path: Path) -> Events:
    """The events in a file whose name ends with one of ENDINGS.

    Raises UserError, naming the file, where it is damaged, of another format or camera, or without events; and without
    tonic, where that has to read it.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise UserError(f"{path} has {size} bytes, more than the {LARGEST} that a recording may have")
            columns = _READERS[path.suffix.lower()](path, file, size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error
    return _checked(path, columns)


def _checked(path: Path, columns: dict[str, NDArray[Any]]) -> Events:
    for name in FIELDS:
        column = columns[name]
        if column.dtype.kind not in "iub" or column.ndim != 1:
            raise UserError(f"{path} must hold {name} as integers (N,), not {column.dtype} {column.shape}")
    counts = {name: len(columns[name]) for name in FIELDS}
    if len(set(counts.values())) > 1:
        raise UserError(f"{path} holds columns of different lengths: {shown(counts)}")
    if not counts["t"]:
        raise UserError(f"{path} holds no events")
    for name in ("x", "y"):
        low, high = int(columns[name].min()), int(columns[name].max())
        if low < 0 or high >= LARGEST_SIDE:
            outside = low if low < 0 else high
            raise UserError(f"{path} has an event at {name} {outside}, where pixels are 0 to {LARGEST_SIDE - 1}")
    wrong = columns["p"][~np.isin(columns["p"], (-1, 0, 1))]
    if len(wrong):
        raise UserError(f"{path} has an event of polarity {wrong[0]}, which must be 1 or 0, or 1 or -1")
    times = columns["t"]
    first, last = int(times.min()), int(times.max())
    if last - first >= LONGEST:
        raise UserError(f"{path} is damaged: its events are {last - first} microseconds apart")
    # what is short would overflow, and uint64 does not fit into int64 before the first time is taken off
    wide = times.astype(np.uint64 if times.dtype.kind == "u" else np.int64)
    x, y = (columns[name].astype(np.int64) for name in ("x", "y"))
    return Events(x, y, (wide - wide.min()).astype(np.int64), (columns["p"] > 0).astype(np.int64))


def _columns(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: array[name] for name in FIELDS}


# N-MNIST, N-Caltech101 and the like


def _bin(path: Path, file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    content = file.read(size)
    if len(content) % BIN_EVENT:
        raise UserError(f"{path} is damaged: its {len(content)} bytes are not events of {BIN_EVENT} bytes each")
    events, overflows = len(content) // BIN_EVENT, content[1::BIN_EVENT].count(BIN_OVERFLOW)
    if events * overflows > MOST_BIN_STEPS:
        raise UserError(f"{path} lasts too long, with {overflows} overflows of time among {events} events: cut it")
    dtype = np.dtype([(name, np.int64) for name in FIELDS])
    return _columns(_tonic().read_mnist_file(io.BytesIO(content), dtype=dtype, is_stream=True))


# AEDAT 2, as jAER wrote it


def _aedat(path: Path, file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    if file.read(len(AEDAT_2)) != AEDAT_2:
        raise UserError(f"{path} is not AEDAT 2: of AEDAT, only recordings of a DVS128 in that version can be read")
    tonic = _tonic()
    try:
        version, start = tonic.read_aedat_header_from_file(str(path))[:2]
        events = tonic.get_aer_events_from_file(str(path), version, start)
    except MemoryError:
        raise
    # a damaged header may raise nearly anything
    except Exception as error:
        raise UserError(f"{path} is damaged, or no AEDAT file ({message_of(error)})") from error
    if (size - start) % AEDAT_EVENT:
        raise UserError(f"{path} is damaged: its {size - start} bytes are not events of {AEDAT_EVENT} bytes each")
    if np.any(events["address"] >> AEDAT_BEYOND):
        raise UserError(f"{path} is of another camera than a DVS128: save its events as .npy")
    # tonic's read_dvs_128 would do the rest, but fails in version 1.7.0, and takes what is no pixel's for one
    events = events[(events["address"] & AEDAT_IS_OTHER) == 0]
    addresses = events["address"]
    return {"x": addresses >> 8 & 127, "y": addresses >> 1 & 127, "p": addresses & 1, "t": events["timeStamp"]}


def _tonic() -> ModuleType:
    return imported("tonic.io", *PACKAGE)


# NumPy's formats


def _npy(path: Path, file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    array = _array(path, file, size)
    if array.dtype.names is None or not set(FIELDS) <= set(array.dtype.names) or array.ndim != 1:
        found = f"{shown(str(array.dtype))} {array.shape}"
        raise UserError(f"{path} must hold a structured array (N,) with the fields {', '.join(FIELDS)}, not {found}")
    return _columns(array)


def _npz(path: Path, file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    columns = {}
    try:
        with zipfile.ZipFile(file) as packed:
            names = set(packed.namelist())
            missing = [name for name in FIELDS if f"{name}.npy" not in names]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)}: an .npz holds x, y, t and p, each (N,)")
            for name in FIELDS:
                entry = packed.getinfo(f"{name}.npy")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise UserError(f"{path} is packed in a way that NumPy does not use")
                most = min(entry.file_size, LARGEST, LARGEST_RATIO * min(entry.compress_size, size))
                with packed.open(entry) as content:
                    columns[name] = _array(path, cast(BinaryIO, content), most)
    except (UserError, MemoryError):
        raise
    # a damaged zip may raise nearly anything
    except Exception as error:
        raise UserError(f"{path} is damaged, or no .npz file ({message_of(error)})") from error
    return columns


def _array(path: Path, file: BinaryIO, size: int) -> NDArray[Any]:
    """The array in an .npy file of at most so many bytes. None of objects, which are pickled."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, is_fortran, dtype = headers[version](file)
        promised = math.prod(shape) * dtype.itemsize
    # the header is Python's text of a dictionary: what is none may raise nearly anything, MemoryError too
    except Exception as error:
        raise UserError(f"{path} is damaged, or no .npy file ({message_of(error)})") from error
    if dtype.hasobject:
        raise UserError(f"{path} holds Python's objects, not numbers: it is not read")
    if not dtype.itemsize or not 0 <= promised <= size:
        raise UserError(f"{path} is damaged: it cannot hold the {promised} bytes that its header says")
    content = file.read(promised)
    # to the end, where a zip's checksum is
    if len(content) != promised or file.read(1):
        raise UserError(f"{path} is damaged: it does not hold the {promised} bytes that its header says")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


_READERS: dict[str, Callable[[Path, BinaryIO, int], dict[str, NDArray[Any]]]] = {
    ".bin": _bin,
    ".aedat": _aedat,
    ".npy": _npy,
    ".npz": _npz,
}
ENDINGS = tuple(_READERS)
