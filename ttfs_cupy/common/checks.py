"""Checks of what a caller gives: what a config refuses, a class refuses, too."""

import numbers
from typing import TypeGuard

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import short, shown

# Of float32, in which all numbers end: the smallest that has all its digits, and the largest
SMALLEST, LARGEST = 2.0**-126, 3.4028234663852886e38

# More than that of anything is a mistake; NumPy and the kernels count in fewer bits than Python.
MOST = 2**31 - 1


def check_number(name: str, value: object, least: float, most: float) -> float:
    """The number as a float. Raises UserError that names it unless it lies in least to most."""
    # beside NumPy's short numbers, the bounds would be as short: 1e-38 and 0 are the same float16
    exact = value.item() if isinstance(value, np.generic) else value
    # written so that NaN, which compares false to everything, is refused
    if not (is_number(exact) and least <= exact <= most):  # type: ignore[operator]
        raise UserError(f"{name} must be a number from {short(least)} to {short(most)}, not {shown(value)}")
    return float(exact)  # type: ignore[arg-type]


def check_positive(name: str, value: object) -> float:
    """The number as a float. Raises UserError unless it is above 0 and float32 holds it."""
    if not is_number(value) or value <= 0:  # type: ignore[operator]
        raise UserError(f"{name} must be a number above 0, not {shown(value)}")
    return check_number(name, value, SMALLEST, LARGEST)


def check_not_negative(name: str, value: object) -> float:
    """The number as a float. Raises UserError unless it is 0, or above it and float32 holds it."""
    if not is_number(value) or value < 0:  # type: ignore[operator]
        raise UserError(f"{name} must be a number from 0, not {shown(value)}")
    return check_number(name, value, SMALLEST, LARGEST) if value else 0.0


def check_count(name: str, value: object, *, least: int = 1, most: int = MOST) -> int:
    """The whole number as an int. Raises UserError that names it unless it lies in least to most."""
    if not is_whole(value) or int(value) < least:
        # a bound that is far away is told to whoever meets it
        up_to = f" to {most}" if most <= 1_000_000 else ""
        raise UserError(f"{name} must be a whole number from {least}{up_to}, not {shown(value)}")
    if int(value) > most:
        raise UserError(f"{name} must be at most {most}, not {shown(value)}")
    return int(value)


def check_flag(name: str, value: object) -> bool:
    """Raises UserError that names it unless it is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, not {shown(value)}")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises UserError that names it unless it is one of these texts."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {shown(value)}")


def check_kind(name: str, value: object, *kinds: type) -> None:
    """Raises TypeError that names it unless it is an object of one of these classes."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be of type {wanted}, not {type(value).__name__}")


def is_whole(value: object) -> TypeGuard[numbers.Integral]:
    """Whether it is a whole number, NumPy's too; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a real number, NumPy's too; True and False are none."""
    # NaN alone differs from itself; math.isnan would turn whole numbers into floats, which may be too large for one
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value
