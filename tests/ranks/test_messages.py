"""Values and arrays on a connection."""

import os
import struct
from multiprocessing import Pipe
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ttfs_cupy.ranks import messages

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
DTYPES = st.one_of(arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.boolean_dtypes())


@given(value=JSON)
@settings(deadline=None, max_examples=50)
def test_values_arrive_as_they_are(value: object) -> None:
    near, far = Pipe()
    messages.send(near, value)
    assert messages.receive(far) == value


@given(array=arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))
@settings(deadline=None, max_examples=50)
def test_arrays_arrive_with_all_their_bits(array: np.ndarray) -> None:
    near, far = Pipe()
    messages.send_array(near, array)
    came = messages.receive_array(far, array.dtype, array.shape)
    assert (came.dtype, came.shape, came.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_an_array_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "PIECE", 1000)
    array = np.arange(12345, dtype=np.int32)[::-1]
    near, far = Pipe()
    sender = Thread(target=messages.send_array, args=(near, array))
    sender.start()
    np.testing.assert_array_equal(messages.receive_array(far, array.dtype, array.shape), array)
    sender.join()


def test_what_is_too_large_is_not_read() -> None:
    near, far = Pipe()
    messages.send(near, "a" * 100)
    with pytest.raises(OSError):
        messages.receive(far, most=50)


@given(st.lists(JSON, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_values_come_in_whatever_pieces(values: list[object], pieces: list[int]) -> None:
    near, far = Pipe()
    for value in values:
        messages.send(near, value)
    near.close()
    sent = b"".join(iter(lambda: os.read(far.fileno(), 1 << 16), b""))
    near, far_again = Pipe()
    incoming, came = messages.Incoming(far_again, most=1 << 20), []
    while sent:
        piece, sent = sent[: pieces[0]], sent[pieces[0] :]
        pieces = pieces[1:] + pieces[:1]
        os.write(near.fileno(), piece)
        came += incoming.read()
    assert came == values
    near.close()
    with pytest.raises(EOFError):
        incoming.read()


@pytest.mark.parametrize("size", [-1, 51])
def test_what_comes_is_bounded(size: int) -> None:
    near, far = Pipe()
    os.write(near.fileno(), struct.pack("!i", size))
    with pytest.raises(messages.MessageError, match="too many bytes"):
        messages.Incoming(far, most=50).read()


def test_what_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST", 50)
    near, _far = Pipe()
    with pytest.raises(ValueError, match="102 bytes is too large"):
        messages.send(near, "a" * 100)


@pytest.mark.parametrize("text", [b"\xff\x00", b"{", b"[" * 100_000, b"1e"])
def test_what_is_no_json(text: bytes) -> None:
    near, far = Pipe()
    near.send_bytes(text)
    with pytest.raises(messages.MessageError):
        messages.receive(far)


def test_pickles_are_no_arrays() -> None:
    _near, far = Pipe()
    with pytest.raises(messages.MessageError, match="no numbers"):
        messages.receive_array(far, np.dtype(object), (1,))


@pytest.mark.parametrize("count", [3, 5])
def test_an_array_of_another_size(count: int) -> None:
    near, far = Pipe()
    messages.send_array(near, np.zeros(count, np.float32))
    with pytest.raises((OSError, messages.MessageError)):
        messages.receive_array(far, np.float32, (4,))
