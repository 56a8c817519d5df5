"""CIFAR's files are pickles, which can run any code: here they can make arrays, numbers, text, lists and dictionaries.

Nothing of NumPy's own takes part: it trusts what a pickle says of an array's type and size.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import message_of, shown

REMEDY = "delete it, and unpack the archive anew or set data.download: true"

# What pickles of such content consist of, whichever Python wrote them.
_OPCODES = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING
    BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    BYTEARRAY8 LIST EMPTY_LIST APPEND APPENDS DICT EMPTY_DICT SETITEM SETITEMS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD POP
"""
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
# An array has five. Python follows tuples within tuples, as a key is one, without looking at its stack.
_MOST_TUPLES = 500


class _Type:
    """Stands for a numpy.dtype."""

    def __init__(self, name: object = "", *_: object):
        self.name = name if isinstance(name, str) else ""

    def __setstate__(self, _: object) -> None:
        """Byte order and the like: of no matter for bytes."""

    def __str__(self) -> str:
        return np.dtype(self.name).name if re.fullmatch("[?]|b1|[iu][1248]|f[248]", self.name) else shown(self.name)


class Array:
    """Stands for a numpy.ndarray: what the pickle says of it, not yet believed."""

    def __init__(self, raw: object = None, dtype: object = None, shape: object = None, order: object = "C"):
        self._raw, self._type, self._shape, self._order = raw, dtype, shape, order

    def __setstate__(self, state: Any) -> None:
        _, self._shape, self._type, is_fortran, self._raw = state
        self._order = "F" if is_fortran else "C"

    def __str__(self) -> str:
        return f"{self._type if isinstance(self._type, _Type) else 'no type'} {self._sizes() or 'of no shape'}"

    def rows(self, width: int) -> NDArray[np.uint8] | None:
        """uint8 (N, width), None if that is not what it is."""
        sizes = self._sizes()
        if not isinstance(self._type, _Type) or str(self._type) != "uint8" or len(sizes) != 2 or sizes[1] != width:
            return None
        raw = self._raw.encode("latin1") if isinstance(self._raw, str) else self._raw
        if not isinstance(raw, (bytes, bytearray)) or len(raw) != sizes[0] * sizes[1]:
            raise UserError(f"its array {self} has other bytes than these")
        return np.frombuffer(raw, np.uint8).reshape(sizes, order="F" if self._order == "F" else "C")

    def _sizes(self) -> tuple[int, ...]:
        sizes = self._shape if isinstance(self._shape, tuple) and len(self._shape) <= 8 else ()
        return sizes if all(isinstance(size, int) and 0 <= size < 2**63 for size in sizes) else ()


def _bytes(*arguments: object) -> bytes:
    if arguments:
        raise pickle.UnpicklingError("it makes bytes of a size")
    return b""


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {shown(encoding)}")
    return text.encode("latin1")


def _reconstruct(*_: object) -> Array:
    return Array()


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Type,
    # how Python 3 writes bytes for Python 2
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _bytes,
    # numpy 1's and numpy 2's names of the same two functions
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): Array,
    ("numpy._core.numeric", "_frombuffer"): Array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which image data never needs")
        return _STAND_INS[module, name]


def unpickled(path: Path) -> dict[Any, Any]:
    """The dictionary in a CIFAR file, its arrays as Array. Raises UserError, naming the file."""
    try:
        with open_file(path) as file:
            _scan(file)
            file.seek(0)
            content = _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    except MemoryError:
        raise
    # a damaged pickle may raise nearly anything
    except Exception as error:
        raise UserError(f"{path} is damaged, or no CIFAR file ({message_of(error)}): {REMEDY}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no CIFAR file: it holds a {type(content).__name__}, not a dictionary")
    return content


def _scan(file: BinaryIO) -> None:
    """UnpicklingError unless it is made of what image data need, and asks for no more memory than it has bytes."""
    known, puts, tuples = frozenset(_OPCODES.split()), 0, 0
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name not in known:
            raise pickle.UnpicklingError(f"it uses {opcode.name}, which image data never need")
        if opcode.name in _PUTS:
            # memory is taken up to the highest number
            if not isinstance(argument, int) or argument > 2 * puts + 1000:
                raise pickle.UnpicklingError(f"it numbers an object {shown(argument)}")
            puts += 1
        tuples += opcode.name.startswith("TUPLE")
        if tuples > _MOST_TUPLES:
            raise pickle.UnpicklingError(f"it holds more than {_MOST_TUPLES} tuples")
