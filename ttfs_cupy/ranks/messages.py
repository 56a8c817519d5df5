"""Values and arrays as messages on a connection: JSON and raw bytes, never pickles, and bounded."""

import json
import os
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

# bytes of a value's JSON, and of one message of an array
MOST = 64 << 20
PIECE = 16 << 20
# an array's: whole and floating numbers, and truth values
KINDS = "iufb"


class MessageError(RuntimeError):
    """What came is not what a rank sends here."""


def send(connection: Connection, value: Any) -> None:
    """Sends what JSON holds. Raises OSError where the connection is closed, ValueError where it is too large."""
    text = json.dumps(value, separators=(",", ":")).encode()
    if len(text) > MOST:
        raise ValueError(f"a message of {len(text)} bytes is too large")
    connection.send_bytes(text)


def receive(connection: Connection, most: int = MOST) -> Any:
    """The next value, of at most so many bytes. Raises OSError and EOFError where the connection is closed, or has more
    bytes, and MessageError for what is no JSON."""
    return _value(connection.recv_bytes(most))


class Incoming:
    """The values that come on a connection, of at most so many bytes each, for a reader who waits for nothing."""

    def __init__(self, connection: Connection, most: int):
        self._connection, self._most = connection, most
        self._bytes = bytearray()

    def read(self) -> list[Any]:
        """Those that are there in full, where something can be read. Raises as `receive`."""
        came = os.read(self._connection.fileno(), self._most)
        if not came:
            raise EOFError
        self._bytes += came
        values = []
        # as Connection sends it: how many bytes follow
        while len(self._bytes) >= 4:
            (size,) = struct.unpack_from("!i", self._bytes)
            if not 0 <= size <= self._most:
                raise MessageError("a message has too many bytes")
            if len(self._bytes) < 4 + size:
                break
            values.append(_value(bytes(self._bytes[4 : 4 + size])))
            del self._bytes[: 4 + size]
        return values


def _value(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("a message is not JSON") from error


def send_array(connection: Connection, array: np.ndarray) -> None:
    """Sends an array's bytes, whose type and shape the other side knows."""
    for piece in _pieces(np.ascontiguousarray(array)):
        connection.send_bytes(piece)


def receive_array(connection: Connection, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array of that type and shape that comes next. Raises as `receive`."""
    array = np.empty(shape, dtype)
    if array.dtype.kind not in KINDS:
        raise MessageError("an array holds no numbers")
    for piece in _pieces(array):
        came = connection.recv_bytes(len(piece))
        if len(came) != len(piece):
            raise MessageError("an array has another size")
        piece[:] = came
    return array


def _pieces(array: np.ndarray) -> Iterator[memoryview]:
    flat = memoryview(array.reshape(-1).view(np.uint8))
    for first in range(0, len(flat), PIECE):
        yield flat[first : first + PIECE]
