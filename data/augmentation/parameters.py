"""Checks of operations' parameters, which are one number for both directions, or two; and levels that fill."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

from ttfs_cupy.common.checks import check_count, check_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

from .program import MOST_PIXELS

# what a user may give: one number for both directions, or one for each
Count = int | Sequence[int]
Number = float | Sequence[float]
# a level of grey, or one for each channel
Fill = int | Sequence[int]


def checked_counts(name: str, value: object, order: str, least: int = 0) -> int | tuple[int, int]:
    """One whole number of pixels, or two in that order, as a tuple. Raises UserError that names it."""
    if is_whole(value):
        return check_count(name, value, least=least, most=MOST_PIXELS)
    if not _is_list(value, 2):
        raise UserError(f"{name} must be a whole number, or two of them, {order}, not {shown(value)}")
    first, second = (check_count(name, one, least=least, most=MOST_PIXELS) for one in value)  # type: ignore[attr-defined]
    return first, second


def checked_shares(name: str, value: object, order: str) -> float | tuple[float, float]:
    """One number from 0 to 1, or two in that order, as a tuple. Raises UserError that names it."""
    if isinstance(value, numbers.Real):
        return check_number(name, value, 0, 1)
    if not _is_list(value, 2):
        raise UserError(f"{name} must be a number from 0 to 1, or two of them, {order}, not {shown(value)}")
    first, second = (check_number(name, one, 0, 1) for one in value)  # type: ignore[attr-defined]
    return first, second


def checked_range(name: str, value: object, least: float, most: float) -> tuple[float, float]:
    """Two numbers, the lower one first. Raises UserError that names it."""
    if not _is_list(value, 2):
        raise UserError(f"{name} must be two numbers, the lower one first, not {shown(value)}")
    low, high = (check_number(name, one, least, most) for one in value)  # type: ignore[attr-defined]
    if low > high:
        raise UserError(f"{name} must be two numbers, the lower one first, not {shown(value)}")
    return low, high


def checked_fill(name: str, value: object) -> int | tuple[int, ...]:
    """A level of 0 to 255, or up to four of them as a tuple. Raises UserError that names it."""
    if is_whole(value):
        return check_count(name, value, least=0, most=255)
    if not any(_is_list(value, count) for count in (1, 2, 3, 4)):
        raise UserError(f"{name} must be a level from 0 to 255, or one for each channel, not {shown(value)}")
    return tuple(check_count(name, one, least=0, most=255) for one in value)  # type: ignore[attr-defined]


def fill_word(name: str, fill: Fill, channels: int) -> int:
    """The levels as four bytes in an int32, the first channel's lowest. Raises UserError unless there is one for each
    channel, or one for all."""
    if isinstance(fill, int):
        levels = [fill] * 4
    elif len(fill) == channels:
        levels = [*fill, *[0] * (4 - len(fill))]
    else:
        raise UserError(
            f"{name} is a list of {len(fill)}, but the images' channels are {channels}: give one level, or one for each"
        )
    return int.from_bytes(bytes(levels), "little", signed=True)


def is_black(fill: Fill) -> bool:
    return not any([fill] if isinstance(fill, int) else fill)


def both(value: int | float | Sequence[float]) -> tuple[float, float]:
    """A parameter for each direction."""
    if isinstance(value, (int, float)):
        return value, value
    first, second = value
    return first, second


def _is_list(value: object, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count
