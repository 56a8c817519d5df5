"""One block of memory for all arrays of a plan; arrays whose lifetimes do not meet share it."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def bytes(self) -> int:
        size = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        return -(-size // ALIGNMENT) * ALIGNMENT

    def meets(self, other: "Slot") -> bool:
        """Whether both live at some moment."""
        return self.first <= other.last and other.first <= self.last


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
            size = int(np.prod(slot.shape, dtype=np.int64)) * slot.dtype.itemsize
            slot.array = block[slot.offset : slot.offset + size].view(slot.dtype).reshape(slot.shape)

    def _place(self) -> None:
        """The largest first, each in the lowest gap that is free throughout its life."""
        if self._placed:
            return
        placed: list[Slot] = []
        for slot in sorted(self._slots, key=lambda slot: -slot.bytes):
            offset = 0
            for other in sorted((p for p in placed if p.meets(slot)), key=lambda p: p.offset):
                if other.offset - offset >= slot.bytes:
                    break
                offset = max(offset, other.offset + other.bytes)
            slot.offset = offset
            placed.append(slot)
        self._bytes = max((slot.offset + slot.bytes for slot in placed), default=0)
        self._placed = True
