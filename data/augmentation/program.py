"""An augmentation as the kernels get it: slots, which say what is drawn for each image, and choices, among which.

For each image a kernel draws an instruction of each slot, and further kernels carry instructions out. What their
numbers mean, and how Philox's random numbers become choices, is written plainly in
ttfs_cupy/check/kernels/references/augmentation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError

# of an image, for which all coefficients of an affine map fit into int32
MOST_PIXELS = 8192
MOST_SLOTS = 32
SLOT_ENTRIES, CHOICE_ENTRIES = 8, 17
# a chance is this many parts of one
CERTAIN = 1 << 24
# of Pillow's fixed point
ONE = 1 << 16

Shape = tuple[int, int, int]
Instruction = tuple[int, int, int, int, int, int, int, int]


class Operation(IntEnum):
    """An instruction's first entry: what is done to an image. The kernels know these numbers."""

    KEEP = 0
    AFFINE = 1
    FILL = 2
    BRIGHTNESS = 3
    COLOR = 4
    CONTRAST = 5
    SHARPNESS = 6
    POSTERIZE = 7
    SOLARIZE = 8
    AUTO_CONTRAST = 9
    EQUALIZE = 10
    INVERT = 11


class Draw(IntEnum):
    """A slot's first entry: how its instruction is drawn. The kernels know these numbers."""

    SHIFT = 0
    MIRROR = 1
    HOLE = 2
    ERASE = 3
    CHOICE = 4


class Choice(NamedTuple):
    """A row of choices: with probability `chance` one of two instructions, each as often as the other."""

    chance: float
    positive: Instruction
    negative: Instruction


class Program(NamedTuple):
    """slots: int32 (S, 8), S up to 32. choices: int32 (R, 17)."""

    slots: NDArray[np.int32]
    choices: NDArray[np.int32]


class ProgramBuilder:
    """Collects the slots and choices of one operation after the other, for images of `shape`, (H, W, C)."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self._slots: list[list[int]] = []
        self._choices: list[list[int]] = []

    def add(self, draw: Draw, *entries: int) -> int:
        """Appends a slot and returns its number."""
        self._slots.append(_padded([draw, *entries], SLOT_ENTRIES))
        return len(self._slots) - 1

    def add_rows(self, choices: Sequence[Choice]) -> tuple[int, int]:
        """Appends rows of choices; the first one's number, and how many they are."""
        first = len(self._choices)
        for choice in choices:
            row = [threshold(choice.chance), *choice.positive, *choice.negative]
            self._choices.append(_padded(row, CHOICE_ENTRIES))
        return first, len(choices)

    def add_choice(self, rows: tuple[int, int], chooser: int | None = None) -> int:
        """Appends a slot that takes one of these rows; the slot `chooser` draws which, by default this slot itself."""
        return self.add(Draw.CHOICE, *rows, len(self._slots) if chooser is None else chooser)

    def program(self) -> Program:
        """Raises UserError where there are more slots than a kernel takes."""
        if len(self._slots) > MOST_SLOTS:
            raise UserError(
                f"an augmentation may make up to {MOST_SLOTS} changes to an image, not {len(self._slots)}: "
                "leave some of its operations out"
            )
        return Program(_array(self._slots, SLOT_ENTRIES), _array(self._choices, CHOICE_ENTRIES))


def instruction(operation: Operation, *entries: int, fill: int = 0) -> Instruction:
    """[operation, a, b, c, d, e, f, fill]; what is not given is 0."""
    a, b, c, d, e, f = _padded([*entries], 6)
    return int(operation), a, b, c, d, e, f, fill


KEEP: Instruction = (int(Operation.KEEP), 0, 0, 0, 0, 0, 0, 0)


def threshold(chance: float) -> int:
    return round(chance * CERTAIN)


def float_bits(value: float) -> int:
    """The bits of a float32, as an int32 holds them."""
    return int(np.float32(value).view(np.int32))


def _padded(entries: Sequence[int], count: int) -> list[int]:
    assert len(entries) <= count
    return [*map(int, entries), *[0] * (count - len(entries))]


def _array(rows: list[list[int]], width: int) -> NDArray[np.int32]:
    # an int that int32 does not hold is an OverflowError: it would be a mistake of this package
    return np.array(rows, np.int32).reshape(len(rows), width)
