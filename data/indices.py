"""Files of indices: text, one a line, or NumPy's .npy. Read within bounds, whatever they claim to be."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.decoding.npy import read_header

# Bytes of a file: an index takes no more, and a .npy's header neither.
_OF_INDEX, _OF_HEADER = 32, 1 << 16

_NPY = b"\x93NUMPY"
_INDEX = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True)
class Purpose:
    """What training images are chosen for, as messages say it: its name, what is done to them, and why it is not done
    to all: what is said of a file that names all, of a wrong count, and of a share that is all."""

    name: str
    aim: str
    all_named: str
    too_many: str
    no_rest: str


VALIDATION = Purpose(
    "validation",
    "hold out for validation",
    "holds out all {} training images: it must leave some to train on",
    "cannot be held out for validation: at least one must be, and one left for training",
    "leaves none for training: lower it",
)
SUBSET = Purpose(
    "subset",
    "use",
    "names all {} training images: without data.subset all are used",
    "cannot be a subset: at least one must be used, and one left out; without data.subset all are used",
    "leaves none out: lower it; without data.subset all are used",
)


def read_indices(path: Path, images: int, purpose: Purpose = VALIDATION) -> NDArray[np.int64]:
    """The indices in a file, int64, as it has them: some of 0 to images - 1, none twice, not all.

    Raises UserError, one sentence that names the file, for any other.
    """
    most = _OF_HEADER + _OF_INDEX * images
    try:
        with open_file(path) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"the {purpose.name} indices '{path}' cannot be read: {reason(error)}") from None
    if len(content) > most:
        raise UserError(
            f"the {purpose.name} indices '{path}' cannot be read: they have more than {most} bytes, and {images} "
            "training images need less"
        )
    found = _of_npy(path, content) if content.startswith(_NPY) else _of_text(path, content)
    _check(f"'{path}'", found, images, purpose)
    return found.astype(np.int64)


def _check(where: str, indices: NDArray[np.integer[Any]], images: int, purpose: Purpose) -> None:
    if not len(indices):
        raise UserError(f"{where} names no image to {purpose.aim}: it must have one index a line")
    outside = indices[(indices < 0) | (indices >= images)]
    if len(outside):
        raise UserError(f"{where} holds the index {outside[0]}, and the training images are 0 to {images - 1}")
    values, counts = np.unique(indices, return_counts=True)
    if counts.max() > 1:
        raise UserError(f"{where} holds the index {values[counts > 1][0]} more than once")
    if len(indices) == images:
        raise UserError(f"{where} {purpose.all_named.format(images)}")


def _of_text(path: Path, content: bytes) -> NDArray[np.int64]:
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        text = line.strip()
        if not text:
            continue
        if not _INDEX.fullmatch(text):
            told = shown(text[:60].decode("utf-8", "replace"))
            raise UserError(f"'{path}', line {number}, must be the index of a training image, from 0, not {told}")
        found.append(int(text))
    return np.array(found, np.int64)


def _of_npy(path: Path, content: bytes) -> NDArray[np.integer[Any]]:
    """Checked before any array is made: a header may promise what it likes."""
    try:
        shape, _, dtype, start = read_header(io.BytesIO(content))
    except Exception as error:  # NumPy parses a header as Python's, and a damaged one may raise anything
        raise UserError(f"'{path}' is not a whole .npy file ({message_of(error)})") from None
    if dtype.kind not in "iu" or len(shape) != 1:
        raise UserError(f"'{path}' must hold integers of one dimension, not {shown(str(dtype))} of {len(shape)}")
    size = math.prod(shape) * dtype.itemsize
    if size != len(content) - start:
        raise UserError(f"'{path}' is not a whole .npy file: it should have {size} bytes of numbers")
    return np.frombuffer(content, dtype, offset=start)
