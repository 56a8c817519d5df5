"""One block of memory for all arrays of a plan; arrays whose lifetimes do not meet share it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttfs_cupy.device import Array

# What the widest vector load, and a GPU's memory transactions, like an array to begin at.
ALIGNMENT = 256


@dataclass
class Slot:
    """An array that lives from moment `first` to moment `last`, both included. array: set by Arena.allocate."""

    shape: tuple[int, ...]
    dtype: np.dtype
    first: int
    last: int
    offset: int = 0
    array: Array = None

    @cached_property
    def bytes(self) -> int:
        size = math.prod(self.shape) * self.dtype.itemsize
        return -(-size // ALIGNMENT) * ALIGNMENT


class Arena:
    """Reserve all arrays, then allocate them at once."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []
        self._placed = False
        self._bytes = 0

    def reserve(self, shape: Sequence[int], first: int, last: int, dtype: type = np.float32) -> Slot:
        """A place for an array that lives from moment `first` to moment `last`."""
        slot = Slot(tuple(shape), np.dtype(dtype), first, last)
        self._slots.append(slot)
        self._placed = False
        return slot

    @property
    def bytes(self) -> int:
        """What all of them take together."""
        self._place()
        return self._bytes

    def allocate(self, block: Array) -> None:
        """Makes every slot's array a view of the block, uint8 (bytes,)."""
        self._place()
        for slot in self._slots:
            size = math.prod(slot.shape) * slot.dtype.itemsize
            slot.array = block[slot.offset : slot.offset + size].view(slot.dtype).reshape(slot.shape)

    def _place(self) -> None:
        """The largest first, each in the lowest gap that is free throughout its life."""
        if self._placed:
            return
        placed = _Placed(sum(slot.bytes > 0 for slot in self._slots))
        for slot in sorted(self._slots, key=lambda slot: -slot.bytes):
            slot.offset = placed.lowest_gap(slot) if slot.bytes else 0
            if slot.bytes:
                placed.add(slot)
        self._bytes = max((slot.offset + slot.bytes for slot in self._slots), default=0)
        self._placed = True


class _Placed:
    """The slots that have a place, in the order of their offsets, as arrays: a deep network has thousands."""

    def __init__(self, most: int):
        self._count = 0
        self._table = np.empty((4, most), np.int64)  # offset, end, first, last

    def lowest_gap(self, slot: Slot) -> int:
        """Where the slot fits below, between or above those that it meets."""
        offsets, ends, firsts, lasts = self._table[:, : self._count]
        meets = (firsts <= slot.last) & (slot.first <= lasts)
        # how far those below each of them reach
        reached = np.concatenate([[0], np.maximum.accumulate(ends[meets])])
        fits = np.flatnonzero(offsets[meets] - reached[:-1] >= slot.bytes)
        return int(reached[fits[0]] if len(fits) else reached[-1])

    def add(self, slot: Slot) -> None:
        place = int(np.searchsorted(self._table[0, : self._count], slot.offset, side="right"))
        self._table[:, place + 1 : self._count + 1] = self._table[:, place : self._count]
        self._table[:, place] = slot.offset, slot.offset + slot.bytes, slot.first, slot.last
        self._count += 1
