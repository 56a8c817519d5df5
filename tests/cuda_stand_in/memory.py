"""The stand-in's memory: what is allocated, what lies at an address, and who touches it without waiting."""

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

# How far each stream had come, by its name, at a moment in one of them
Clock = dict[str, int]


@dataclass(frozen=True)
class Region:
    """An array by its address, as a graph knows it."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: np.ndarray) -> "Region":
        return cls(pointer(array), array.shape, array.strides, array.dtype)

    @property
    def span(self) -> int:
        """From its first byte to its last."""
        return sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + self.dtype.itemsize

    def array(self) -> np.ndarray:
        memory = (ctypes.c_char * self.span).from_address(self.pointer)
        return np.ndarray(self.shape, self.dtype, memory, strides=self.strides)


class Memory:
    """The allocations that are alive."""

    def __init__(self) -> None:
        self._alive: dict[int, tuple[int, int, Any]] = {}
        self._count = 0

    def allocate(self, size: int) -> np.ndarray:
        # a label that never came must not be an index beyond all memory
        root = np.zeros(max(size, 1), np.uint8)
        number = self._count = self._count + 1
        self._alive[number] = (pointer(root), max(size, 1), weakref.ref(root))
        weakref.finalize(root, self._alive.pop, number)
        return root

    def number(self, place: int) -> int:
        """Of the allocation that the address lies in."""
        for number, (start, size, _) in self._alive.items():
            if start <= place < start + size:
                return number
        raise AssertionError("a pointer into memory that is not the device's, or no longer")

    def offset(self, place: int) -> int:
        """How many bytes an address lies behind its allocation's first."""
        return place - self._alive[self.number(place)][0]

    def view(
        self, place: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: type = np.float32
    ) -> np.ndarray:
        """Values at an address, which have to lie in one allocation."""
        start, size, root = self._alive[self.number(place)]
        last = place + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + np.dtype(dtype).itemsize
        assert last <= start + size, "an array or a matrix that ends beyond its allocation"
        return np.ndarray(shape, dtype, root(), place - start, strides)

    def same(self, place: int, number: int) -> Any:
        """The allocation, if it is still the one it was."""
        if number not in self._alive:
            raise AssertionError("a graph was launched on memory that was given back")
        return self._alive[number][2]()


class Races:
    """Who touched what, and when: finds what a collective and other work do to the same bytes with no order between.

    Of a launch it is not known what it reads and what it writes, so of two launches nothing is told; a collective
    does both.
    """

    def __init__(self) -> None:
        # by first byte, end and stream: the latest moment there, and what it was
        self._launches: dict[tuple[int, int, str], tuple[int, str]] = {}
        self._collectives: dict[tuple[int, int, str], tuple[int, str]] = {}

    def touch(self, spans: list[tuple[int, int]], clock: Clock, stream: str, what: str, *, collective: bool) -> None:
        """Raises AssertionError where another stream's work on the same bytes is neither before nor after."""
        others = (self._launches, self._collectives) if collective else (self._collectives,)
        own = self._collectives if collective else self._launches
        for start, end in spans:
            for (first, last, other), (moment, touched) in ((k, v) for table in others for k, v in table.items()):
                if other != stream and first < end and start < last and clock.get(other, 0) < moment:
                    raise AssertionError(f"{what} in stream {stream} does not wait for {touched} in stream {other}")
            own[start, end, stream] = clock[stream], what

    def forget(self, start: int, size: int) -> None:
        """What was there before that memory was given out again."""
        for table in (self._launches, self._collectives):
            for first, last, stream in [key for key in table if key[0] < start + size and start < key[1]]:
                del table[first, last, stream]


def pointer(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def spans_of(arrays: Any) -> list[tuple[int, int]]:
    """The first byte of each, and where it ends."""
    regions = [Region.of(array) for array in arrays if array.size]
    return [(region.pointer, region.pointer + region.span) for region in regions]
